//! The memory limit of the process's control group, by cgroups(7), versions 2 and 1: the lowest limit of its group and all
//! parent groups. It is set by systemd (`MemoryMax=`) and by container runtimes.

use std::fs;
use std::path::{Path, PathBuf};

/// Version 1 represents "no limit" by a number near 2⁶³, rounded to pages.
const UNLIMITED: u64 = 1 << 60;

/// The limit of this process in bytes; `None` if nothing limits it.
pub(crate) fn memory_limit() -> Option<u64> {
    memory_limit_below(Path::new("/"))
}

/// As [`memory_limit`], for a machine whose `/proc` and `/sys` are in this folder.
fn memory_limit_below(machine: &Path) -> Option<u64> {
    let read = |path: &str| fs::read_to_string(machine.join(path)).unwrap_or_default();
    let (groups, mounts) = (read("proc/self/cgroup"), read("proc/self/mountinfo"));
    let mounts: Vec<_> = mounts.lines().filter_map(Mount::parse).collect();
    let limits = groups.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, group) = (fields.next()?, fields.next()?, fields.next()?);
        let (mount, file) = if controllers.is_empty() {
            (mounts.iter().find(|mount| mount.kind == "cgroup2")?, "memory.max")
        } else if controllers.split(',').any(|it| it == "memory") {
            let of_memory =
                |mount: &&Mount| mount.kind == "cgroup" && mount.options.split(',').any(|it| it == "memory");
            (mounts.iter().find(of_memory)?, "memory.limit_in_bytes")
        } else {
            return None;
        };
        least(machine, mount, group, file)
    });
    limits.min()
}

/// The lowest limit from the group up to the mount point.
fn least(machine: &Path, mount: &Mount, group: &str, file: &str) -> Option<u64> {
    // In a container the mount's root may be the group itself, and groups outside of the mount are invisible.
    let below = Path::new(group).strip_prefix(&mount.root).unwrap_or(Path::new(""));
    let top = machine.join(mount.point.strip_prefix("/").unwrap_or(&mount.point));
    let limits = below.ancestors().filter_map(|group| {
        let text = fs::read_to_string(top.join(group).join(file)).ok()?;
        text.trim().parse::<u64>().ok().filter(|limit| *limit < UNLIMITED)
    });
    limits.min()
}

/// A line of `/proc/self/mountinfo` (proc(5)).
struct Mount {
    /// The mounted part of the file system.
    root: PathBuf,
    /// The mount point.
    point: PathBuf,
    kind: String,
    /// The file system's own options: for version 1 the controllers.
    options: String,
}

impl Mount {
    fn parse(line: &str) -> Option<Self> {
        let (mount, system) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let mut system = system.split(' ');
        Some(Self {
            root: unescaped(mount.next()?).into(),
            point: unescaped(mount.next()?).into(),
            kind: system.next()?.to_owned(),
            options: system.nth(1).unwrap_or("").to_owned(),
        })
    }
}

/// Blanks and backslashes of names are written as three octal digits.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or("").to_owned();
    for part in parts {
        let code = part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => {
                plain.push(char::from(code));
                plain.push_str(&part[3..]);
            }
            None => {
                plain.push('\\');
                plain.push_str(part);
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const V2: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
    const V1: &str = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
        33 23 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
        34 23 0:30 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n";

    type Case<'a> = (&'a str, &'a str, &'a str, &'a [(&'a str, &'a str)], Option<u64>);

    #[test]
    fn the_least_limit_of_the_group_and_those_above_it_is_found_in_both_versions() {
        let cases: &[Case<'_>] = &[
            ("nothing is known", "", "", &[], None),
            ("no limit", "0::/user.slice\n", V2, &[("sys/fs/cgroup/user.slice/memory.max", "max\n")], None),
            (
                "MemoryMax of a unit",
                "0::/system.slice/agentbench.service\n",
                V2,
                &[
                    ("sys/fs/cgroup/system.slice/memory.max", "max\n"),
                    ("sys/fs/cgroup/system.slice/agentbench.service/memory.max", "536870912\n"),
                ],
                Some(512 << 20),
            ),
            (
                "a slice above has less",
                "0::/bench.slice/a.service\n",
                V2,
                &[
                    ("sys/fs/cgroup/bench.slice/memory.max", "1000000\n"),
                    ("sys/fs/cgroup/bench.slice/a.service/memory.max", "2000000\n"),
                ],
                Some(1_000_000),
            ),
            ("a container's own root", "0::/\n", V2, &[("sys/fs/cgroup/memory.max", "4096\n")], Some(4_096)),
            (
                "a group outside of the namespace",
                "0::/../../other\n",
                "30 23 0:26 /pod/x /sys/fs/cgroup rw - cgroup2 cgroup rw\n",
                &[("sys/fs/cgroup/memory.max", "8192\n")],
                Some(8_192),
            ),
            (
                "version 1",
                "9:cpu,cpuacct:/a\n5:memory:/system.slice/agentbench.service\n",
                V1,
                &[
                    ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
                    (
                        "sys/fs/cgroup/memory/system.slice/agentbench.service/memory.limit_in_bytes",
                        "1048576\n",
                    ),
                    ("sys/fs/cgroup/cpu/a/memory.limit_in_bytes", "1\n"),
                ],
                Some(1 << 20),
            ),
            (
                "version 1 without a limit",
                "5:memory:/\n",
                V1,
                &[("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")],
                None,
            ),
            (
                "version 1 in a container that sees its own group only",
                "5:memory:/docker/f00\n",
                "34 23 0:30 /docker/f00 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
                &[("sys/fs/cgroup/memory/memory.limit_in_bytes", "2097152\n")],
                Some(2 << 20),
            ),
            (
                "both: memory is with version 1",
                "5:memory:/a\n0::/a\n",
                "34 23 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                 35 23 0:31 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
                &[("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "77\n")],
                Some(77),
            ),
            (
                "a blank in a name",
                "0::/a b\n",
                "30 23 0:26 / /sys/fs/c\\040group rw - cgroup2 cgroup2 rw\n",
                &[("sys/fs/c group/a b/memory.max", "55\n")],
                Some(55),
            ),
            ("nonsense", "0::\n:::\nx\n5:memory\n", "a b\n - \n1 2 3 / /x - \n", &[], None),
        ];
        for (name, groups, mounts, files, expected) in cases {
            let machine = tempfile::tempdir().unwrap();
            let own = [("proc/self/cgroup", *groups), ("proc/self/mountinfo", *mounts)];
            for (path, text) in own.iter().chain(*files) {
                let path = machine.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            assert_eq!(memory_limit_below(machine.path()), *expected, "{name}");
        }
    }
}
