//! Processor time, which says how long compiling takes whatever else the machine does.

/// Milliseconds of all threads of this process since it began.
#[cfg(unix)]
#[expect(unsafe_code, reason = "it calls the C library")]
pub(crate) fn processor_ms() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes one `timespec`, which is there.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    if status == 0 { time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6 } else { 0.0 }
}

/// Milliseconds of the clock since the first call: other systems tell processor time too coarsely.
#[cfg(not(unix))]
pub(crate) fn processor_ms() -> f64 {
    static BEGAN: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    BEGAN.get_or_init(std::time::Instant::now).elapsed().as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_computed_takes_processor_time() {
        let began = processor_ms();
        std::hint::black_box((0..3_000_000u64).map(std::hint::black_box).sum::<u64>());
        assert!(processor_ms() > began);
    }
}
