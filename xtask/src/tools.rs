//! Programs of the toolbox that cargo builds: each pinned to a release, installed in the target folder.

use std::path::{Path, PathBuf};

use crate::{cargo, output, target};

/// The program in this release, from the target folder or from `PATH`; otherwise it is built, without optimisation, which is
/// faster than what it would save. `options` are passed to `cargo install`.
pub(crate) fn installed(name: &str, version: &str, options: &[&str]) -> anyhow::Result<PathBuf> {
    let tools = target().join("tools");
    let program = tools.join("bin").join(name);
    let is_it = |path: &Path| {
        output(&path.to_string_lossy(), &["--version"]).is_some_and(|text| text.contains(version))
    };
    for there in [program.as_path(), Path::new(name)] {
        if is_it(there) {
            return Ok(there.to_owned());
        }
    }
    let (root, build) = (tools.to_string_lossy(), target().join("tools-build"));
    let build = build.to_string_lossy();
    let words = ["install", name, "--version", version, "--locked", "--profile", "dev"];
    cargo(&[&words[..], options, &["--root", &root, "--target-dir", &build]].concat())?;
    Ok(program)
}
