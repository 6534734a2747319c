//! `ringctl lock`, `elect` and `lease`, as scripts and operators use them: on real nodes, with real commands. A command that goes on
//! without its lock is what a lock is there to prevent, so most of this is about how commands end.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ringfence_tests::{Cluster, binary, eventually};
use rustix::process::{Pid, Signal, kill_process};

/// Longer than any test: whoever gets a lock sooner got it because it was released.
const LONG_TTL: &str = "10m";

#[tokio::test(flavor = "multi_thread")]
async fn the_command_knows_its_lease_and_ringctl_ends_as_it_does() {
    let cluster = Cluster::start(3).await;
    let tell = "echo $RINGFENCE_LOCK $RINGFENCE_TOKEN $RINGFENCE_GENERATION ${RINGFENCE_PERMIT-none}; exit 7";
    let mut last = 0;
    for _ in 0..2 {
        let ran = run(&cluster, &["lock", "jobs", "--ttl", LONG_TTL, "--", "sh", "-c", tell]).await;
        assert_eq!(ran.code, 7, "{}", ran.stderr);
        let words: Vec<&str> = ran.stdout.split_whitespace().collect();
        let token: i64 = words[1].parse().unwrap();
        assert_eq!(words, ["jobs", words[1], words[1], "none"]);
        assert!(token > last, "a later holder has a higher token");
        last = token;
    }
    // It was released each time, or the second would have waited for ten minutes.

    let ran = run(&cluster, &["lock", "gpu", "--permits", "2", "--", "printenv", "RINGFENCE_PERMIT"]).await;
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (0, "0\n", ""));
    for (command, code) in [
        (&["sh", "-c", "kill -TERM $$"][..], 143),
        (&["sh", "-c", "exit 255"], 255),
        (&["/nonexistent"], 127),
        (&["/"], 126),
    ] {
        let ran = run(&cluster, &[&["lock", "jobs", "--ttl", LONG_TTL, "--"], command].concat()).await;
        assert_eq!(ran.code, code, "{command:?}: {}", ran.stderr);
    }
    let left = run(&cluster, &["lease", "list", "-w", "ndjson"]).await;
    assert_eq!((left.code, left.stdout.as_str()), (0, ""), "everything was released");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_fences_its_writes_with_what_it_is_told() {
    let cluster = Cluster::start(3).await;
    let ringctl = binary("ringctl");
    let script = r#"
        "$0" put '{jobs}state' one --fence "$RINGFENCE_LOCK@$RINGFENCE_TOKEN" >&2 &&
        "$0" cas '{jobs}state' --value one --put 2 --fence "$RINGFENCE_LOCK@$RINGFENCE_TOKEN" >&2 &&
        "$0" incr '{jobs}state' 3 --fence "$RINGFENCE_LOCK@$RINGFENCE_TOKEN" >&2 &&
        echo "$RINGFENCE_TOKEN""#;
    let told = ["lock", "{jobs}lock", "--", "sh", "-c", script, ringctl.to_str().unwrap()];
    let ran = run(&cluster, &told).await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let over = format!("{{jobs}}lock@{}", ran.stdout.trim());
    for write in [&["put", "{jobs}state", "x"][..], &["del", "{jobs}state"], &["incr", "{jobs}state"]] {
        let late = run(&cluster, &[write, &["--fence", &over]].concat()).await;
        assert_eq!(late.code, 4, "{write:?}: {}", late.stderr);
    }
    assert_eq!(run(&cluster, &["get", "{jobs}state"]).await.stdout, "5\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_is_refused_or_waits_its_turn() {
    let cluster = Cluster::start(3).await;
    let held = ["lock", "jobs", "--ttl", LONG_TTL, "--holder", "the-first", "--"];
    let mut first = Run::start(&cluster, &[&held[..], &["sh", "-c", "echo runs; cat"]].concat());
    first.says("runs").await;
    for impatient in [&["--no-wait"][..], &["--wait", "200ms"]] {
        let ran = run(&cluster, &[&["lock", "jobs"], impatient, &["--", "echo", "never"]].concat()).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (4, ""), "{}", ran.stderr);
    }

    let second = Run::start(&cluster, &["lock", "jobs", "--ttl", LONG_TTL, "--", "echo", "my turn"]);
    eventually("it says whom it waits for", async || second.stderr().contains("held by the-first").then_some(())).await;
    let third = Run::start(&cluster, &["lock", "jobs", "--holder", "the-third", "--", "echo", "never"]);
    eventually("two wait", async || (queue(&cluster, "jobs").await.len() == 2).then_some(())).await;
    third.signal(Signal::INT);
    assert_eq!(third.ended().await.code, 130);
    let began = Instant::now();
    eventually("it has left the queue", async || (queue(&cluster, "jobs").await.len() == 1).then_some(())).await;
    assert!(began.elapsed() < Duration::from_secs(10), "left, rather than fell silent");

    first.close_stdin();
    assert_eq!(first.ended().await.code, 0);
    let second = second.ended().await;
    assert_eq!((second.code, second.stdout.as_str()), (0, "my turn\n"), "{}", second.stderr);
    assert_eq!(second.stderr.matches("held by").count(), 1, "told once");
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_share_and_permits_are_counted() {
    let cluster = Cluster::start(3).await;
    let quick = async |how: &[&str]| run(&cluster, &[&["lock"], how, &["--no-wait", "--", "true"]].concat()).await.code;
    let mut reader = Run::start(&cluster, &["lock", "page", "--shared", "--", "sh", "-c", "echo runs; cat"]);
    let mut permit = Run::start(&cluster, &["lock", "gpu", "--permits", "2", "--", "sh", "-c", "echo runs; cat"]);
    reader.says("runs").await;
    permit.says("runs").await;
    assert_eq!(quick(&["page", "--shared"]).await, 0);
    assert_eq!(quick(&["page"]).await, 4);
    let other = run(&cluster, &["lock", "gpu", "--permits", "2", "--", "printenv", "RINGFENCE_PERMIT"]).await;
    assert_eq!(other.stdout, "1\n");
    assert_eq!(quick(&["gpu", "--permits", "3"]).await, 4, "all must agree on how many there are");
    reader.close_stdin();
    permit.close_stdin();
    assert_eq!((reader.ended().await.code, permit.ended().await.code), (0, 0));
}

/// With no cluster in reach, nobody renews and nobody answers: the command must end all the same, and with it what it started.
#[tokio::test(flavor = "multi_thread")]
async fn the_command_is_stopped_when_its_lease_is_lost() {
    let cluster = Cluster::start(3).await;
    let deaf = "trap '' TERM; sleep 600 & echo $!; sleep 600";
    let tidy = "trap 'echo cleaned up; exit 0' TERM; echo runs; while :; do sleep 0.05; done";
    let deaf = Run::start(&cluster, &["lock", "a", "--ttl", "3s", "--", "sh", "-c", deaf]);
    let tidy = Run::start(&cluster, &["lock", "b", "--ttl", "3s", "--grace", "1s", "--", "sh", "-c", tidy]);
    let abrupt = Run::start(
        &cluster,
        &["lock", "c", "--ttl", "3s", "--grace", "0", "--", "sh", "-c", "echo $$; exec sleep 600"],
    );
    let (grandchild, child) = (deaf.says("\n").await, abrupt.says("\n").await);
    tidy.says("runs").await;
    // Longer than the ttl: they are renewed.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(is_alive(&grandchild) && is_alive(&child));

    let began = Instant::now();
    cluster.running().iter().for_each(|node| cluster.server(*node).pause(true));
    let (deaf, tidy, abrupt) = (deaf.ended().await, tidy.ended().await, abrupt.ended().await);
    let took = began.elapsed();
    assert_eq!((deaf.code, tidy.code, abrupt.code), (6, 6, 6), "{}{}{}", deaf.stderr, tidy.stderr, abrupt.stderr);
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert!(!is_alive(&grandchild) && !is_alive(&child));
    assert!(tidy.stdout.ends_with("cleaned up\n"), "it was asked before it was killed: {}", tidy.stdout);
    assert!(deaf.stderr.contains("the lease on a was lost"), "{}", deaf.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_are_the_commands_and_it_dies_with_ringctl() {
    let cluster = Cluster::start(3).await;
    let script = "trap 'echo told; exit 5' TERM INT; echo runs; while :; do sleep 0.05; done";
    for signal in [Signal::TERM, Signal::INT] {
        let running = Run::start(&cluster, &["lock", "a", "--ttl", LONG_TTL, "--", "sh", "-c", script]);
        running.says("runs").await;
        running.signal(signal);
        let ended = running.ended().await;
        assert_eq!((ended.code, ended.stdout.as_str()), (5, "runs\ntold\n"), "{}", ended.stderr);
    }
    // Released both times: this would wait else.
    let orphan = Run::start(&cluster, &["lock", "a", "--", "sh", "-c", "echo $$; exec sleep 600"]);
    let child = orphan.says("\n").await;
    orphan.signal(Signal::KILL);
    eventually("the command is gone, too", async || (!is_alive(&child)).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sees_who_holds_what_and_ends_it() {
    let cluster = Cluster::start(3).await;
    let stuck =
        ["lock", "jobs/nightly", "--ttl", "3s", "--holder", "stuck:71", "--", "sh", "-c", "echo runs; sleep 600"];
    let stuck = Run::start(&cluster, &stuck);
    stuck.says("runs").await;
    let next = ["lock", "jobs/nightly", "--holder", "next:72", "--", "sh", "-c", "echo runs; cat"];
    let mut next = Run::start(&cluster, &next);
    eventually("one waits", async || (queue(&cluster, "jobs/nightly").await.len() == 1).then_some(())).await;

    let list = run(&cluster, &["lease", "list", "jobs/", "-w", "ndjson"]).await.stdout;
    assert_eq!(list.lines().count(), 1, "{list}");
    assert_eq!(field(&list, "holder"), "stuck:71");
    let token = field(&list, "token");
    let table = run(&cluster, &["lease", "list"]).await.stdout;
    assert!(table.starts_with("NAME") && table.contains(&token), "{table}");
    assert_eq!(run(&cluster, &["lease", "list", "other/", "-w", "json"]).await.stdout, "[]\n");
    let inspected = run(&cluster, &["lease", "inspect", "jobs/nightly"]).await.stdout;
    assert!(inspected.starts_with("jobs/nightly is held by 1, 1 wait\n"), "{inspected}");
    assert!(inspected.contains("next:72"), "{inspected}");

    let release = async |holder: &str, token: &str| {
        run(&cluster, &["lease", "release", "jobs/nightly", "--holder", holder, "--token", token]).await
    };
    assert_eq!(release("stuck:72", &token).await.code, 4);
    assert_eq!(release("stuck:71", "1").await.code, 4);
    let released = release("stuck:71", &token).await;
    assert_eq!((released.code, released.stdout), (0, format!("OK  jobs/nightly released, token {token}\n")));
    assert_eq!(release("stuck:71", &token).await.code, 4, "it is over");
    next.says("runs").await;
    let stuck = stuck.ended().await;
    assert_eq!(stuck.code, 6, "{}", stuck.stderr);
    next.close_stdin();
    assert_eq!(next.ended().await.code, 0);
    let free = run(&cluster, &["lease", "inspect", "jobs/nightly"]).await;
    assert_eq!((free.code, free.stdout.as_str()), (0, "jobs/nightly is free, 0 wait\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn leaders_follow_each_other_and_are_observed() {
    let cluster = Cluster::start(3).await;
    let observer = Run::start(&cluster, &["elect", "chief", "--observe", "-w", "ndjson"]);
    observer.says("{\"leader\":null}\n").await;
    let campaign = |value: &'static str, script| {
        Run::start(&cluster, &["elect", "chief", value, "--ttl", LONG_TTL, "--", "sh", "-c", script])
    };
    let mut first = campaign("one", "echo $RINGFENCE_LOCK; cat; exit 9");
    first.says("chief").await;
    observer.says("\"value\":\"one\"}}\n").await;
    let mut second = campaign("two", "echo leads; cat");
    eventually("it waits", async || (queue(&cluster, "chief").await.len() == 1).then_some(())).await;
    assert_eq!(second.stdout(), "");
    first.close_stdin();
    assert_eq!(first.ended().await.code, 9);
    second.says("leads").await;
    observer.says("\"value\":\"two\"}}\n").await;
    second.close_stdin();
    assert_eq!(second.ended().await.code, 0);
    eventually("nobody leads", async || observer.stdout().ends_with("{\"leader\":null}\n").then_some(())).await;
    let lines = observer.stdout();
    let tokens: Vec<String> =
        lines.lines().filter(|line| line.contains("token")).map(|line| field(line, "token")).collect();
    assert!(tokens.is_sorted() && tokens.len() >= 2, "{lines}");
}

/// A command in a process group of its own cannot read the terminal unless it is given it, and nobody after it unless it is taken back.
#[tokio::test(flavor = "multi_thread")]
async fn the_command_can_use_the_terminal_and_gives_it_back() {
    let cluster = Cluster::start(3).await;
    let ringctl = format!("{} --endpoints {}", binary("ringctl").display(), cluster.endpoints().join(","));
    let typed =
        format!("{ringctl} lock a -- sh -c 'read line; echo got $line'; echo code $?; read line; echo then $line");
    let mut terminal = Command::new("script");
    terminal.args(["--quiet", "--return", "--command", &typed, "/dev/null"]).env("SHELL", "/bin/sh");
    let mut terminal = Run::spawn(terminal);
    terminal.types("hello\n");
    terminal.says("got hello").await;
    terminal.says("code 0").await;
    terminal.types("world\n");
    terminal.says("then world").await;
    assert_eq!(terminal.ended().await.code, 0);
}

/// A command that runs. It is killed when this is dropped.
struct Run {
    child: Child,
    out: Arc<Mutex<Vec<u8>>>,
    err: Arc<Mutex<Vec<u8>>>,
}

/// What it left behind.
struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

async fn run(cluster: &Cluster, args: &[&str]) -> Ran {
    Run::start(cluster, args).ended().await
}

impl Run {
    fn start(cluster: &Cluster, args: &[&str]) -> Run {
        let mut command = Command::new(binary("ringctl"));
        command.env("RINGCTL_ENDPOINTS", cluster.endpoints().join(",")).args(args);
        Run::spawn(command)
    }

    fn spawn(mut command: Command) -> Run {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("a program can be started");
        let (out, err) = (gather(child.stdout.take()), gather(child.stderr.take()));
        Run { child, out, err }
    }

    fn stdout(&self) -> String {
        String::from_utf8(self.out.lock().unwrap().clone()).unwrap()
    }

    fn stderr(&self) -> String {
        String::from_utf8(self.err.lock().unwrap().clone()).unwrap()
    }

    /// Waits until this is on its stdout; gives the first line.
    async fn says(&self, what: &str) -> String {
        let condition = format!("it says {what:?}");
        let said = eventually(&condition, async || Some(self.stdout()).filter(|said| said.contains(what))).await;
        said.lines().next().unwrap_or_default().to_owned()
    }

    fn types(&mut self, line: &str) {
        self.child.stdin.as_mut().unwrap().write_all(line.as_bytes()).unwrap();
    }

    fn close_stdin(&mut self) {
        drop(self.child.stdin.take());
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id() as i32).unwrap();
        kill_process(pid, signal).expect("one's own child can be signalled");
    }

    /// Waits until it has ended, and nobody can write to its stdout or stderr any more.
    async fn ended(mut self) -> Ran {
        let status = eventually("it has ended", async || self.child.try_wait().unwrap()).await;
        eventually("what it started has ended", async || {
            [&self.out, &self.err].into_iter().all(|said| Arc::strong_count(said) == 1).then_some(())
        })
        .await;
        Ran { code: status.code().expect("ended by itself"), stdout: self.stdout(), stderr: self.stderr() }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended already
        let _ = self.child.wait();
    }
}

/// Reads until the end, in a thread of its own, which then lets go of what it has read.
fn gather(pipe: Option<impl Read + Send + 'static>) -> Arc<Mutex<Vec<u8>>> {
    let gathered: Arc<Mutex<Vec<u8>>> = Arc::default();
    let (said, mut pipe) = (Arc::clone(&gathered), pipe.expect("it is piped"));
    std::thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(read @ 1..) = pipe.read(&mut piece) {
            said.lock().unwrap().extend_from_slice(&piece[..read]);
        }
    });
    gathered
}

/// The holders that wait for a lock.
async fn queue(cluster: &Cluster, name: &str) -> Vec<String> {
    let inspected = run(cluster, &["lease", "inspect", name, "-w", "json"]).await;
    assert_eq!(inspected.code, 0, "{}", inspected.stderr);
    let (_, queue) = inspected.stdout.split_once("\"queue\":[").expect("there is always a queue");
    queue.split("\"ticket\"").skip(1).map(|waiter| field(waiter, "holder")).collect()
}

/// The value of the first field of this name.
fn field(json: &str, name: &str) -> String {
    let (_, value) = json.split_once(&format!("\"{name}\":\"")).unwrap_or_else(|| panic!("no {name} in {json}"));
    value.split('"').next().unwrap_or_default().to_owned()
}

/// Not gone, and not a zombie that nobody has waited for.
fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid).join("stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}
