//! Embeds the output of `npm run build` in `web/dashboard/dist`, if it exists; and the tests' fixture.
//!
//! Each file gets a gzip form if that is smaller, and an ETag from its bytes. Without a build the table is empty, and
//! the server explains how to get the pages.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use flate2::Compression;
use flate2::write::GzEncoder;

fn main() -> io::Result<()> {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or(io::ErrorKind::NotFound)?);
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?);
    let web = here.join("../../web");
    let dist = web.join("dashboard/dist");
    println!("cargo::rerun-if-changed=build");
    // Watching a missing path would restart every build here: existing paths are watched instead.
    let watched = [dist.clone(), web.join("dashboard"), web].into_iter().find(|path| path.is_dir());
    if let Some(watched) = watched {
        println!("cargo::rerun-if-changed={}", watched.display());
    }
    let fixture = here.join("tests/fixture");
    println!("cargo::rerun-if-changed={}", fixture.display());
    embed(&dist, &out, "built")?;
    embed(&fixture, &out, "fixture")
}

/// Writes `OUT/NAME.rs`: an expression with the table of the folder's files.
fn embed(folder: &Path, out: &Path, name: &str) -> io::Result<()> {
    let mut files = Vec::new();
    if folder.join("index.html").is_file() {
        list(folder, &mut files)?;
        files.sort();
    }
    let mut table = String::from("&[\n");
    for (index, file) in files.iter().enumerate() {
        let bytes = fs::read(file)?;
        let path = path_of(folder, file)?;
        let gzip = match gzip(&bytes)? {
            Some(small) => {
                let target = out.join(format!("{name}-{index}.gz"));
                fs::write(&target, small)?;
                format!("Some(include_bytes!({target:?}))")
            }
            None => "None".to_owned(),
        };
        let etag = &blake3::hash(&bytes).to_hex()[..32];
        let file = file.canonicalize()?;
        writeln!(
            table,
            "    Asset {{ path: {path:?}, bytes: include_bytes!({file:?}), gzip: {gzip}, etag: {etag:?} }},"
        )
        .map_err(io::Error::other)?;
    }
    table.push_str("]\n");
    fs::write(out.join(format!("{name}.rs")), table)
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            list(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// The path that a browser requests: `/assets/index-4f3a.js`.
fn path_of(folder: &Path, file: &Path) -> io::Result<String> {
    let inside = file.strip_prefix(folder).map_err(io::Error::other)?;
    let names: Option<Vec<&str>> = inside.iter().map(|name| name.to_str()).collect();
    let names = names.ok_or_else(|| io::Error::other(format!("{} has no name in UTF-8", file.display())))?;
    Ok(format!("/{}", names.join("/")))
}

/// `None` unless it would be smaller by a tenth.
fn gzip(bytes: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    let small = encoder.finish()?;
    Ok((small.len() < bytes.len() / 10 * 9).then_some(small))
}
