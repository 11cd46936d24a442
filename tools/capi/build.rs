//! Names the shared library.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let system = std::env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    match system.as_str() {
        // It stays loaded: threads of it and of drivers may outlive a dlclose. What crates under it export to C, as
        // llguidance does, it does not.
        "linux" | "android" | "freebsd" => {
            println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libstrix.so.0,-z,nodelete,--exclude-libs,ALL");
        }
        "macos" | "ios" => println!("cargo:rustc-cdylib-link-arg=-Wl,-install_name,@rpath/libstrix.0.dylib"),
        _ => {}
    }
}
