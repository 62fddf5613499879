//! Tells the program how it was optimised, since figures of speed count in a release build alone.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Cargo sets it for build scripts.
    let level = std::env::var("OPT_LEVEL").unwrap_or_default();
    println!("cargo::rustc-check-cfg=cfg(release_build)");
    if level == "3" {
        println!("cargo::rustc-cfg=release_build");
    }
}
