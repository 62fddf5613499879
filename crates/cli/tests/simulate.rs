//! `agentbench simulate` from outside: what it prints, and how it ends.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::process::{Command, Output};

fn simulate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_agentbench")).arg("simulate").args(arguments).output().unwrap()
}

#[test]
fn simulates_whole_worlds_and_says_what_was_done() {
    let output = simulate(&["--seed", "1", "--steps", "6000"]);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{out}{err}");
    let (first, last) = (out.lines().next().unwrap(), out.lines().last().unwrap());
    assert_eq!(first, "seed 1");
    assert!(last.starts_with("2 worlds, 6000 steps, ") && last.ends_with(" steps per second"), "{out}");
}

#[test]
fn runs_a_schedule_and_names_the_line_of_a_bad_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("steps.txt");
    let file = path.to_str().unwrap();
    std::fs::write(&path, "# one session\n\ncreate 0\nup 0 4000\n").unwrap();
    let good = simulate(&["--seed", "1", "--schedule", file]);
    assert_eq!(good.status.code(), Some(0), "{good:?}");
    assert!(String::from_utf8_lossy(&good.stdout).contains("\n2 steps, "), "{good:?}");

    std::fs::write(&path, "# one session\n\ncreate 0\npublish zero\n").unwrap();
    let bad = simulate(&["--seed", "1", "--schedule", file]);
    assert_eq!(bad.status.code(), Some(2), "{bad:?}");
    assert!(String::from_utf8_lossy(&bad.stderr).contains("line 4: \"publish zero\""), "{bad:?}");
}

#[cfg(feature = "sabotage")]
#[test]
fn a_failure_is_kept_repeated_and_shrunk() {
    let folder = tempfile::tempdir().unwrap();
    let (seeds, steps) = (folder.path().join("seeds.txt"), folder.path().join("steps.txt"));
    let defect = ["--defect", "ack_before_commit"];
    let limits = ["--seed", "1", "--steps", "60000", "--keep", seeds.to_str().unwrap()];
    let output = simulate(&[&limits[..], &defect].concat());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let out = String::from_utf8(output.stdout).unwrap();

    let kept = std::fs::read_to_string(&seeds).unwrap();
    let words: Vec<&str> = kept.split(' ').collect();
    let again =
        format!("agentbench simulate --seed {} --steps {} --defect ack_before_commit", words[0], words[1]);
    assert!(out.contains(&again), "{out}");

    let (_, rest) = out.split_once("are enough").unwrap();
    let shortest: Vec<&str> = rest.lines().skip(1).take_while(|line| *line != "They break:").collect();
    std::fs::write(&steps, shortest.join("\n")).unwrap();
    let one = ["--seed", words[0], "--schedule", steps.to_str().unwrap()];
    assert_eq!(simulate(&[&one[..], &defect].concat()).status.code(), Some(1), "{shortest:?}");
}
