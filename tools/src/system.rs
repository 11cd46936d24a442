//! Limits and signals of the system that std does not handle.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::Usage;

/// Address space and memory that Mesa's software driver takes for the smallest model, and some more: it ends the
/// process where there is less.
#[cfg(any(target_os = "linux", target_os = "macos"))]
const GOOD_ADDRESSES: u64 = 2 << 30;
#[cfg(any(target_os = "linux", target_os = "macos"))]
const GOOD_DATA: u64 = 512 << 20;

/// With less than these, a driver gives no device, or crashes the process.
#[cfg(any(target_os = "linux", target_os = "macos"))]
const LEAST_ADDRESSES: u64 = 1 << 30;
#[cfg(any(target_os = "linux", target_os = "macos"))]
const LEAST_DATA: u64 = 128 << 20;

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

/// Ends the process without waiting for anything: a device that is stuck never lets go.
pub(crate) fn end_at_once(code: u8) -> ! {
    #[cfg(unix)]
    #[expect(unsafe_code, reason = "the system's own call")]
    // SAFETY: it ends the process and touches nothing of it.
    unsafe {
        libc::_exit(code.into());
    }
    #[cfg(not(unix))]
    std::process::exit(code.into())
}

/// Has a write beyond the limit on files (`ulimit -f`) fail, instead of the process end; and has it end in an error where
/// limits of memory (`ulimit -v` and `-d`) would end it.
pub(crate) fn fail_instead_of_ending() {
    #[cfg(unix)]
    #[expect(unsafe_code, reason = "the system's own call")]
    // SAFETY: no handler is set, the signal is ignored; what std knows of signals is SIGPIPE alone.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
    #[cfg(any(target_os = "linux", target_os = "macos"))]
    {
        // std aborts where there is no memory. Drivers do too, or use what they were not given.
        if limits().any(|limit| limit.has != libc::RLIM_INFINITY) {
            end_in_an_error_at(libc::SIGABRT);
        }
        if limits().any(|limit| limit.has < limit.good) {
            end_in_an_error_at(libc::SIGSEGV);
            end_in_an_error_at(libc::SIGBUS);
        }
    }
}

/// Ends the process in an error at a signal.
#[cfg(any(target_os = "linux", target_os = "macos"))]
fn end_in_an_error_at(signal: libc::c_int) {
    #[expect(unsafe_code, reason = "the system's own calls")]
    extern "C" fn end(_: libc::c_int) {
        const WORDS: &str = "error: the process ended for want of memory within its limits (see ulimit -v and -d): raise them\n";
        // SAFETY: a handler may call both; they need no memory.
        unsafe {
            libc::write(libc::STDERR_FILENO, WORDS.as_ptr().cast(), WORDS.len());
            libc::_exit(crate::BAD_INPUT.into());
        }
    }
    let handler: extern "C" fn(libc::c_int) = end;
    #[expect(unsafe_code, reason = "the system's own call")]
    // SAFETY: a handler of zeros but for what is set is a good one; on a stack of its own, if the thread has one.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as libc::sighandler_t;
        action.sa_flags = libc::SA_ONSTACK;
        libc::sigaction(signal, &raw const action, std::ptr::null_mut());
    }
}

/// A limit of the process.
#[cfg(any(target_os = "linux", target_os = "macos"))]
struct Limit {
    what: &'static str,
    option: &'static str,
    has: u64,
    /// Address space that drivers take.
    good: u64,
    /// Address space that every driver needs to start.
    least: u64,
}

/// The limits of memory.
#[cfg(any(target_os = "linux", target_os = "macos"))]
fn limits() -> impl Iterator<Item = Limit> {
    let all = [
        ("address space", "-v", libc::RLIMIT_AS, GOOD_ADDRESSES, LEAST_ADDRESSES),
        ("memory", "-d", libc::RLIMIT_DATA, GOOD_DATA, LEAST_DATA),
    ];
    all.into_iter().map(|(what, option, kind, good, least)| {
        let mut limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
        #[expect(unsafe_code, reason = "the system's own call")]
        // SAFETY: the limit is written to a value of the type that it has.
        let asked = unsafe { libc::getrlimit(kind, &raw mut limit) };
        let has = if asked == 0 { limit.rlim_cur } else { libc::RLIM_INFINITY };
        Limit { what, option, has, good, least }
    })
}

/// Looks at the limits of the process (`ulimit -v` and `-d`) before a driver does, which says nothing of them: where there
/// is less than any driver starts with, it would end the process.
///
/// # Errors
///
/// If there is less than that. If there is less than most drivers take, one line says so.
pub(crate) fn check_limits() -> Result<(), Usage> {
    #[cfg(any(target_os = "linux", target_os = "macos"))]
    for Limit { what, option, has, good, least } in limits().filter(|limit| limit.has < limit.good) {
        let [has_bytes, good, least_bytes] = [has, good, least].map(bytesize::ByteSize);
        let words = format!(
            "this process may have {has_bytes} of {what} (ulimit {option}), where a driver may need {good}"
        );
        if has < least {
            return Err(Usage(format!("{words}, and none starts below {least_bytes}: raise it")));
        }
        crate::terminal::whisper(&format!("{words}: it may end before it has answered"));
    }
    Ok(())
}

/// The system's shortage that a panic tells of. It is no fault of ours.
pub(crate) fn shortage(panic: &str) -> Option<&'static str> {
    const NO_THREADS: &str =
        "the system gives no more threads: it is short of memory, or a limit is too low (see ulimit -a)";
    const NO_MEMORY: &str =
        "the system gives no more memory: it is short of it, or a limit is too low (see ulimit -a)";
    let shortages = [
        ("failed to spawn thread", NO_THREADS),
        ("ThreadPoolBuildError", NO_THREADS),
        ("OUT_OF_HOST_MEMORY", NO_MEMORY),
        ("OUT_OF_DEVICE_MEMORY", NO_MEMORY),
    ];
    shortages.into_iter().find(|(words, _)| panic.contains(words)).map(|(_, shortage)| shortage)
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
