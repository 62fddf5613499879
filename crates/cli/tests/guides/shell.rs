//! A shell in a scratch folder, in which `agentbench` is the binary of this build.

use std::path::Path;
use std::process::{Command, Stdio};

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_agentbench");

/// Variables of the caller's shell that would change what a guide's commands do.
const SETTINGS: [&str; 11] = [
    "AGENTBENCH_ENV",
    "AGENTBENCH_TOKEN",
    "AGENTBENCH_URL",
    "AUDIT_FILE",
    "DATA_DIR",
    "JWT_KEYS_FILE",
    "JWT_SECRET",
    "LOG_LEVEL",
    "NODE_ENV",
    "WS_HOST",
    "WS_PORT",
];

/// Takes away what the caller's shell has set.
pub(crate) fn without_settings(command: &mut Command) -> &mut Command {
    SETTINGS.iter().for_each(|name| {
        command.env_remove(name);
    });
    command
}

/// Programs that a guide calls and that the test stands in for: scripts in the folder `stand-ins`.
pub(crate) fn stand_in(folder: &Path, name: &str, script: &str) {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.join("stand-ins").join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Stands in for `openssl rand -hex 32` where OpenSSL is not installed.
pub(crate) fn openssl(folder: &Path) {
    let is_installed = Command::new("openssl").arg("version").stdout(Stdio::null()).status().is_ok();
    if !is_installed {
        stand_in(folder, "openssl", "od -An -v -tx1 -N \"$3\" /dev/urandom | tr -d ' \\n'");
    }
}

/// Runs a block with `sh -eu` and gives what it printed; fails the test if a command of it fails.
#[track_caller]
pub(crate) fn run(folder: &Path, environment: &[(&str, &str)], script: &str) -> String {
    let binaries = Path::new(BINARY).parent().unwrap().display();
    let stand_ins = folder.join("stand-ins");
    let inherited = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{binaries}:{inherited}", stand_ins.display());
    let mut command = Command::new("sh");
    without_settings(&mut command)
        .args(["-euc", script])
        .current_dir(folder)
        .env("PATH", path)
        .envs(environment.iter().copied())
        .stdin(Stdio::null());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}\nended with {}: {said}", output.status);
    String::from_utf8(output.stdout).unwrap()
}
