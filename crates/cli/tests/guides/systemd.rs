//! The guide for systemd, walked command by command in a scratch root by a manager that does what systemd does with the units: it passes the
//! socket, reads the environment files, makes the state folder, waits for `READY=1`. `useradd` is played as well, all else is real.

use std::collections::HashSet;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use agentbench_load::child::signal;

use crate::page::{blocks, read, root, section};
use crate::scratch::get;
use crate::shell;

/// How long a start may take before a test gives up; no measure of speed.
const PATIENCE: Duration = Duration::from_secs(60);
/// Folders of a machine that a guide names; below the scratch root here.
const FOLDERS: [&str; 3] = ["/etc/", "/usr/local/", "/var/lib"];

/// A unit file: its settings in their order.
struct Unit(Vec<(String, String)>);

impl Unit {
    fn read(path: &Path) -> Self {
        let text =
            std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let lines = text.lines().filter(|line| !line.starts_with(['#', '[']));
        let settings = lines.filter_map(|line| line.split_once('='));
        Self(settings.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |setting| setting.0 == name).map(|setting| setting.1.as_str())
    }

    #[track_caller]
    fn one(&self, name: &str) -> &str {
        self.all(name).next().unwrap_or_else(|| panic!("the unit has no {name}="))
    }
}

/// A machine with systemd, as far as the guide needs one.
pub(crate) struct Machine {
    root: tempfile::TempDir,
    port: TcpListener,
    notices: UnixDatagram,
    socket_is_open: bool,
    life: Option<Child>,
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(life) = &mut self.life {
            // It may have ended already.
            let _ = life.kill();
            let _ = life.wait();
        }
    }
}

impl Machine {
    /// A machine on which the guide's installation was done, in a checkout that has been built.
    pub(crate) fn installed() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for path in ["usr/local/bin", "etc/systemd/system", "var/lib", "target/release"] {
            std::fs::create_dir_all(folder.path().join(path)).unwrap();
        }
        std::os::unix::fs::symlink(root().join("docs"), folder.path().join("docs")).unwrap();
        std::os::unix::fs::symlink(shell::BINARY, folder.path().join("target/release/agentbench")).unwrap();
        let users = folder.path().join("users");
        shell::stand_in(
            folder.path(),
            "useradd",
            &format!("for word; do :; done; echo $word >> {}", users.display()),
        );
        shell::openssl(folder.path());
        let notices = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        notices.set_read_timeout(Some(PATIENCE)).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut machine = Self { root: folder, port, notices, socket_is_open: false, life: None };
        machine.walk(&guide("## systemd")[0]);
        machine
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.port.local_addr().unwrap()
    }

    /// Where a path of the guide lies here.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path.trim_start_matches('/'))
    }

    /// A token that its server takes.
    pub(crate) fn token(&self) -> String {
        let secrets = std::fs::read_to_string(self.path("/etc/agentbench/secrets")).unwrap();
        let secret = secrets.trim().strip_prefix("JWT_SECRET=").unwrap();
        let mint = "agentbench token mint --role evaluator --user ann";
        shell::run(self.root.path(), &[("JWT_SECRET", secret)], mint).trim().to_owned()
    }

    /// Does the commands of a block: those of systemctl itself, the others in a shell.
    pub(crate) fn walk(&mut self, block: &str) {
        let commands = block.lines().flat_map(|line| line.split(" && "));
        for command in commands.filter(|command| !command.trim().is_empty()) {
            let words: Vec<&str> = command.split(" #").next().unwrap().split_whitespace().collect();
            if words[0] == "systemctl" {
                self.systemctl(&words[1..]);
                continue;
            }
            if command.contains("/var/lib") {
                // A client would have the server started in the middle of it.
                assert!(self.life.is_none() && !self.socket_is_open, "the folder is in use: {command}");
            }
            shell::run(self.root.path(), &[], &self.here(command));
        }
    }

    fn here(&self, text: &str) -> String {
        let root = self.root.path().display();
        FOLDERS.iter().fold(text.to_owned(), |text, folder| text.replace(folder, &format!("{root}{folder}")))
    }

    fn systemctl(&mut self, words: &[&str]) {
        let units: HashSet<&str> = words[1..].iter().filter(|word| !word.starts_with('-')).copied().collect();
        let names_service = units.iter().any(|unit| ["agentbench", "agentbench.service"].contains(unit));
        let names_socket = units.contains("agentbench.socket");
        assert_eq!(units.len(), usize::from(names_service) + usize::from(names_socket), "{words:?}");
        match words[0] {
            "daemon-reload" => {}
            "enable" | "start" => {
                assert!(words[0] != "enable" || words[1] == "--now", "{words:?}");
                self.socket_is_open |= names_socket;
                if names_service {
                    self.start();
                }
            }
            "restart" => {
                self.stop();
                self.start();
            }
            "stop" => {
                self.socket_is_open &= !names_socket;
                if names_service {
                    self.stop();
                }
            }
            other => panic!("systemctl {other}"),
        }
    }

    fn unit(&self, name: &str) -> Unit {
        Unit::read(&self.path("/etc/systemd/system").join(name))
    }

    /// Starts the service as systemd does, after a look at everything that the unit needs.
    fn start(&mut self) {
        if self.life.is_some() {
            return;
        }
        let unit = self.unit("agentbench.service");
        let socket = self.unit(unit.one("Requires"));
        assert!(self.socket_is_open, "Requires= starts the socket first");
        assert_eq!(socket.all("ListenStream").count(), 1, "one socket is passed here");
        let users = std::fs::read_to_string(self.path("users")).unwrap();
        assert!(users.lines().any(|user| user == unit.one("User")), "no step makes the user");
        let state = self.path("/var/lib").join(unit.one("StateDirectory"));
        if !state.exists() {
            std::fs::create_dir(&state).unwrap();
        }
        let mode = u32::from_str_radix(unit.one("StateDirectoryMode"), 8).unwrap();
        std::fs::set_permissions(&state, std::fs::Permissions::from_mode(mode)).unwrap();
        let command = self.here(unit.one("ExecStart"));
        for path in command.split_whitespace().filter(|word| word.starts_with('/')) {
            assert!(Path::new(path).exists(), "no step makes {path}, which ExecStart= names");
        }
        let environment = self.environment(&unit);
        let data =
            environment.iter().find(|(name, _)| name == "DATA_DIR").expect("the unit says where the data is");
        assert!(
            Path::new(&data.1).starts_with(&state),
            "ProtectSystem=strict lets it write below {state:?} only"
        );
        let script = format!("exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec {command}");
        let mut process = Command::new("sh");
        let child = shell::without_settings(&mut process)
            .args(["-c", &script])
            .current_dir("/")
            .envs(environment)
            .env("NOTIFY_SOCKET", self.path("notify"))
            .stdin(Stdio::from(OwnedFd::from(self.port.try_clone().unwrap())))
            .stdout(Stdio::null())
            .spawn();
        self.life = Some(child.unwrap());
        self.wait_for("READY=1");
    }

    /// `Environment=` and what is in the files of `EnvironmentFile=`.
    fn environment(&self, unit: &Unit) -> Vec<(String, String)> {
        let mut words: Vec<String> =
            unit.all("Environment").flat_map(str::split_whitespace).map(|word| self.here(word)).collect();
        for file in unit.all("EnvironmentFile") {
            let path = self.path(file.trim_start_matches('-'));
            let text = std::fs::read_to_string(&path);
            let text = text.unwrap_or_else(|error| panic!("no step makes {}: {error}", path.display()));
            words.extend(text.lines().map(str::to_owned));
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        words
            .iter()
            .filter_map(|word| word.split_once('='))
            .map(|(name, value)| (name.into(), value.into()))
            .collect()
    }

    fn wait_for(&self, wanted: &str) {
        let mut buffer = [0; 512];
        loop {
            let count = self.notices.recv(&mut buffer).unwrap_or_else(|error| panic!("no {wanted}: {error}"));
            if buffer[..count].starts_with(wanted.as_bytes()) {
                return;
            }
        }
    }

    fn stop(&mut self) {
        let Some(mut life) = self.life.take() else { return };
        signal(life.id(), libc::SIGTERM).unwrap();
        let status = life.wait().unwrap();
        assert!(status.success(), "{status}");
    }

    /// The server dies, and nothing starts it again.
    pub(crate) fn crash(&mut self) {
        let mut life = self.life.take().unwrap();
        life.kill().unwrap();
        life.wait().unwrap();
    }
}

/// The commands of a part of docs/operating.md, block by block.
pub(crate) fn guide(heading: &str) -> Vec<String> {
    blocks(section(&read("docs/operating.md"), heading), "sh")
}

#[test]
fn the_guide_installs_and_upgrades_a_server() {
    let mut machine = Machine::installed();
    let token = machine.token();
    assert_eq!(get(machine.address(), "/readyz", "").0, 200);
    assert_eq!(get(machine.address(), "/api/v1/sessions", &token).0, 200);
    machine.walk(&guide("## systemd")[1]);
    assert_eq!(get(machine.address(), "/api/v1/sessions", &token).0, 200, "after the upgrade");
    machine.stop();
}

#[test]
fn systemd_reads_the_units_without_complaint() {
    let analyze = ["/usr/bin", "/bin"].map(|folder| Path::new(folder).join("systemd-analyze"));
    let Some(analyze) = analyze.iter().find(|path| path.is_file()) else {
        eprintln!("NOT TESTED: systemd-analyze is not installed");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let paths = ["agentbench.socket", "agentbench.service"].map(|name| {
        let text = read(&format!("docs/deploy/{name}")).replace("/usr/local/bin/agentbench", shell::BINARY);
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    });
    let output = Command::new(analyze).args(["verify", "--man=no"]).args(paths).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{}: {said}", output.status);
}

#[test]
fn the_sample_settings_are_settings() {
    let folder = tempfile::tempdir().unwrap();
    let text = read("docs/deploy/agentbench.toml");
    let settings = text.lines().map(|line| line.strip_prefix("# ").unwrap_or(line));
    let settings: Vec<&str> =
        settings.filter(|line| line.split_once(" = ").is_some_and(|(name, _)| !name.contains(' '))).collect();
    assert!(settings.len() > 4);
    std::fs::write(folder.path().join("all.toml"), settings.join("\n")).unwrap();
    let shown = shell::run(folder.path(), &[], "agentbench serve --config all.toml --print-config");
    for setting in settings {
        let name = setting.split(' ').next().unwrap().replace('_', "-");
        let is_from_file = |line: &str| line.starts_with(&format!("{name} ")) && !line.ends_with("default");
        assert!(shown.lines().any(is_from_file), "{setting}: {shown}");
    }
}
