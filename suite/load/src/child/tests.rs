//! Any process as a server: found by its line, on its core, ended as it should be, and told of where it does not start.

use super::*;

const LIMIT: Duration = Duration::from_secs(30);

fn start(script: &str, core: Option<usize>, limit: Duration) -> anyhow::Result<(Child, String)> {
    let mut command = Command::new("sh");
    command.args(["-c", script]).stderr(Stdio::piped());
    Child::start(command, core, limit, |line| line.strip_prefix("up ").map(str::to_owned))
}

fn is_there(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn a_line_of_either_output_says_that_it_is_up_and_sigterm_ends_it() {
    for out in ["", ">&2"] {
        let (child, found) =
            start(&format!("echo hello; echo up 7 {out}; exec sleep 600"), None, LIMIT).unwrap();
        assert_eq!(found, "7");
        let pid = child.pid();
        assert!(!child.stop(LIMIT).unwrap().success());
        assert!(!is_there(pid));
    }
}

#[test]
fn all_of_it_runs_on_its_core() {
    let (child, _) = start("echo up 1; exec sleep 600", Some(0), LIMIT).unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.pid())).unwrap();
    let cores = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    assert_eq!(cores.trim(), "0");
    child.kill().unwrap();
}

#[test]
fn one_that_ends_or_is_silent_is_told_with_its_last_lines() {
    let why = |script: &str, limit| format!("{:#}", start(script, None, limit).unwrap_err());
    let ended = why("echo no such module; exit 3", LIMIT);
    assert!(ended.contains("exit status: 3") && ended.ends_with("no such module"), "{ended}");
    let silent = why("exec sleep 600", Duration::from_millis(50));
    assert!(silent.contains("within 50ms") && silent.ends_with("without output"), "{silent}");
    let closed = why("exec >&- 2>&-; exec sleep 600", Duration::from_millis(500));
    assert!(closed.contains("closed its output"), "{closed}");
}

#[test]
fn what_it_prints_later_does_not_block_it() {
    let (mut child, _) =
        start("echo up 1; i=0; while [ $i -lt 20000 ]; do i=$((i+1)); echo line $i; done", None, LIMIT)
            .unwrap();
    assert!(child.wait(LIMIT).unwrap().unwrap().success());
    assert!(child.has_ended());
}

#[test]
fn one_that_does_not_heed_sigterm_is_killed() {
    let (child, _) = start("trap '' TERM; echo up 1; while :; do sleep 1; done", None, LIMIT).unwrap();
    let pid = child.pid();
    let error = child.stop(Duration::from_millis(50)).unwrap_err();
    assert!(error.to_string().contains("was killed"), "{error}");
    assert!(!is_there(pid));
}
