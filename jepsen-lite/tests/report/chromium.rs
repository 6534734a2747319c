//! A real browser without a window. Not every machine has one: then what it would have tested is *not covered*, and
//! says so.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// Set to `required`, a machine without a browser fails.
const DEMAND: &str = "RINGFENCE_BROWSER_TESTS";

const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// It needs a second or two; on a machine that is busy with all the other tests, a minute.
const PATIENCE: Duration = Duration::from_secs(180);

/// The browser of this machine.
pub(crate) struct Chromium {
    program: PathBuf,
}

impl Chromium {
    /// None, loudly, if there is none.
    pub(crate) fn find(test: &str) -> Option<Chromium> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let places = std::env::split_paths(&path).flat_map(|dir| NAMES.map(|name| dir.join(name)));
        let program = places.into_iter().find(|program| program.is_file());
        if program.is_none() {
            assert!(
                std::env::var(DEMAND).as_deref() != Ok("required"),
                "{DEMAND}=required, and there is none of {NAMES:?}"
            );
            // Past the test harness, which keeps to itself what a test that passes prints.
            let _ = writeln!(
                std::io::stderr(),
                "NOT COVERED: {test}: there is none of {NAMES:?} on this machine ({DEMAND}=required demands one)"
            );
        }
        program.map(|program| Chromium { program })
    }

    /// Opens the page in a window so wide, lets this script run at its end, and gives back the document as it then is.
    pub(crate) fn open(&self, html: &str, width: u32, script: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let page = dir.path().join("report.html");
        let html = html.replacen("</body>", &format!("<script>{script}</script></body>"), 1);
        fs::write(&page, html).unwrap();
        let (out, err) = (dir.path().join("dom"), dir.path().join("log"));
        let mut command = Command::new(&self.program);
        command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]);
        command.args([
            "--disable-quic",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ]);
        command.arg(format!("--user-data-dir={}", dir.path().join("profile").display()));
        command.arg(format!("--window-size={width},1000"));
        command.args(["--dump-dom", &format!("file://{}", page.display())]);
        command.stdin(Stdio::null()).stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
        let mut running = Running(command.process_group(0).spawn().unwrap());
        let ended = running.wait();
        let log = || tail(&err);
        assert!(ended, "no page within {PATIENCE:?}: {}", log());
        let dom = fs::read_to_string(&out).unwrap();
        assert!(dom.contains("</html>"), "no document came out of {}: {}", self.program.display(), log());
        dom
    }
}

/// The end of what it said: it says a lot.
fn tail(log: &Path) -> String {
    let log = fs::read(log).unwrap_or_default();
    String::from_utf8_lossy(&log[log.len().saturating_sub(2_000)..]).into_owned()
}

/// A browser and its helpers, which are a process group of their own and end with this.
struct Running(Child);

impl Running {
    fn wait(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if self.0.try_wait().unwrap().is_some() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        false
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(group) = Pid::from_raw(self.0.id() as i32) {
            let _ = kill_process_group(group, Signal::KILL); // it may have ended by itself
        }
        let _ = self.0.wait();
    }
}
