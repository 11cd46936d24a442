//! What the system does to a process behind std's back.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::Usage;

/// Address space and memory that Mesa's software driver takes for the smallest model, and some more: it ends the
/// process where there is less.
#[cfg(any(target_os = "linux", target_os = "macos"))]
const LEAST_ADDRESSES: u64 = 2 << 30;
#[cfg(any(target_os = "linux", target_os = "macos"))]
const LEAST_DATA: u64 = 512 << 20;

/// Set before `main` where stdout was closed: std opens `/dev/null` in its place, and nobody would hear of it.
static STDOUT_IS_CLOSED: AtomicBool = AtomicBool::new(false);

/// Refuses to work for nothing.
pub(crate) fn check_stdout() -> Result<(), Usage> {
    match STDOUT_IS_CLOSED.load(Ordering::Relaxed) {
        true => Err(Usage(
            "stdout is closed, so that what strix prints would be lost: send it to a file, a pipe or /dev/null".into(),
        )),
        false => Ok(()),
    }
}

/// Has a write beyond the limit on files (`ulimit -f`) fail, instead of the process end.
pub(crate) fn fail_instead_of_ending() {
    #[cfg(unix)]
    #[expect(unsafe_code, reason = "the system's own call")]
    // SAFETY: no handler is set, the signal is ignored; what std knows of signals is SIGPIPE alone.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
}

/// Says which limit of the process (`ulimit -v` or `-d`) is so low that a driver may end it: no driver says so itself.
pub(crate) fn mention_limits() {
    #[cfg(any(target_os = "linux", target_os = "macos"))]
    for (what, option, kind, needed) in [
        ("address space", "-v", libc::RLIMIT_AS, LEAST_ADDRESSES),
        ("memory", "-d", libc::RLIMIT_DATA, LEAST_DATA),
    ] {
        let mut limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
        #[expect(unsafe_code, reason = "the system's own call")]
        // SAFETY: the limit is written to a value of the type that it has.
        let asked = unsafe { libc::getrlimit(kind, &raw mut limit) };
        if asked == 0 && limit.rlim_cur < needed {
            crate::terminal::whisper(&format!(
                "this process may have {} of {what} (ulimit {option}), where a driver may need {}: it may end without a \
                 word",
                bytesize::ByteSize(limit.rlim_cur),
                bytesize::ByteSize(needed)
            ));
        }
    }
}

/// Whether a panic says that the system gave no thread, which is no fault of ours.
pub(crate) fn is_out_of_threads(panic: &str) -> bool {
    ["failed to spawn thread", "ThreadPoolBuildError"].iter().any(|words| panic.contains(words))
}

/// Runs before `main`, and before std has a look at the descriptors.
#[cfg(any(target_os = "linux", target_os = "macos"))]
extern "C" fn look_at_stdout() {
    #[expect(unsafe_code, reason = "the system's own call")]
    // SAFETY: it asks for the flags of a descriptor by its number; one that is closed is an error.
    let is_closed = unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_GETFD) } == -1;
    STDOUT_IS_CLOSED.store(is_closed, Ordering::Relaxed);
}

#[cfg(any(target_os = "linux", target_os = "macos"))]
#[expect(unsafe_code, reason = "a section that the loader knows")]
// SAFETY: the section holds pointers to functions that are called at the start, of which this is one; it uses nothing
// of std but an atomic.
#[cfg_attr(target_os = "linux", unsafe(link_section = ".init_array"))]
#[cfg_attr(target_os = "macos", unsafe(link_section = "__DATA,__mod_init_func"))]
#[used]
static LOOK_AT_STDOUT: extern "C" fn() = look_at_stdout;
