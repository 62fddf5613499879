//! The dashboard's pages: `npm` builds them, and the next `cargo build` embeds them (`crates/pages`).

use anyhow::bail;

use crate::{output, root, run};

const FOLDER: &str = "web/dashboard";
/// Files without which the server has no pages, or no HTML export.
const NEEDED: [&str; 2] = ["index.html", "export.html"];

pub(crate) fn build() -> anyhow::Result<()> {
    if !root().join(FOLDER).join("package.json").is_file() {
        bail!("{FOLDER} is not in this checkout");
    }
    if output("npm", &["--version"]).is_none() {
        bail!("npm is missing: install Node.js 20 or newer (Debian: apt-get install nodejs npm)");
    }
    run("npm", &["--prefix", FOLDER, "ci", "--silent", "--no-audit", "--no-fund"])?;
    run("npm", &["--prefix", FOLDER, "run", "--silent", "build"])?;
    let dist = root().join(FOLDER).join("dist");
    for name in NEEDED {
        anyhow::ensure!(dist.join(name).is_file(), "the build did not create {}", dist.join(name).display());
    }
    println!("built {}: cargo build embeds it in the binary", dist.display());
    Ok(())
}
