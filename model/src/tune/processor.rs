//! Time that the processor spent, where the system tells.

#[cfg(unix)]
use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of all threads of this process so far.
pub fn process_ns() -> Option<f64> {
    #[cfg(unix)]
    return Some(nanoseconds(ClockId::ProcessCPUTime));
    #[cfg(not(unix))]
    None
}

/// Nanoseconds of the calling thread so far.
pub fn thread_ns() -> Option<f64> {
    #[cfg(unix)]
    return Some(nanoseconds(ClockId::ThreadCPUTime));
    #[cfg(not(unix))]
    None
}

#[cfg(unix)]
fn nanoseconds(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// Cores that this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

#[cfg(all(test, unix))]
mod tests {
    use std::hint::black_box;

    use super::*;

    #[test]
    fn work_of_a_thread_is_work_of_the_process() {
        let before = [process_ns().unwrap(), thread_ns().unwrap()];
        let mut x = 0_u64;
        while thread_ns().unwrap() - before[1] < 5e6 {
            x = black_box(x.wrapping_mul(31) + 1);
        }
        assert!(process_ns().unwrap() - before[0] >= 5e6);
    }
}
