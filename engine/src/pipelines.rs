//! Compiled kernels: in parallel, before they are needed, and kept from one process to the next.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use wgpu::Features;

use crate::{Error, Gpu, Result, Shader, logged};

/// Begins what [`Gpu::pipeline_data`] returns; the last byte is the version of its form.
const MAGIC: &[u8; 8] = b"strixpl\x01";

/// Time between two looks at whether kernels are compiled.
const LOOK: Duration = Duration::from_millis(1);

/// Kernels that are being compiled on other threads. Dropping it drops those that have not begun.
#[derive(Debug)]
pub struct Compiling {
    threads: Vec<JoinHandle<()>>,
    cancelled: Arc<AtomicBool>,
}

impl Compiling {
    /// Waits until all are compiled, or `go_on` says no: those that have not begun are then dropped. Whether all are
    /// compiled. A kernel that the driver refused is an error when it is used.
    pub fn wait_while(mut self, go_on: impl Fn() -> bool) -> bool {
        while self.threads.iter().any(|thread| !thread.is_finished()) {
            if !go_on() {
                return false;
            }
            thread::sleep(LOOK);
        }
        self.join();
        true
    }

    fn join(&mut self) {
        for thread in self.threads.drain(..) {
            // A panic of wgpu's comes again when the kernel is used.
            let _ = thread.join();
        }
    }
}

impl Drop for Compiling {
    fn drop(&mut self) {
        self.cancelled.store(true, Ordering::Relaxed);
        self.join();
    }
}

impl Gpu {
    /// Compiles kernels on as many threads as the machine has processors, while the caller goes on. A
    /// [`Program`](crate::Program) of them then finds them done, or waits for the one it needs.
    pub fn compile_ahead(&self, shaders: impl IntoIterator<Item = Arc<Shader>>) -> Compiling {
        let queue: VecDeque<Arc<Shader>> = shaders.into_iter().collect();
        let workers = thread::available_parallelism().map_or(1, |n| n.get()).min(queue.len());
        let queue = Arc::new(Mutex::new(queue));
        let cancelled = Arc::new(AtomicBool::new(false));
        let work = || {
            let (gpu, queue, cancelled) = (self.clone(), queue.clone(), cancelled.clone());
            move || {
                let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                while let (false, Some(shader)) = (cancelled.load(Ordering::Relaxed), next()) {
                    if let Err(error) = gpu.pipeline(&shader, None) {
                        tracing::debug!(%error, "compiled ahead of its use");
                    }
                }
            }
        };
        // If no thread can be started, it is compiled when it is used.
        let spawn = |_| thread::Builder::new().name("strix-compile".into()).spawn(logged(work())).ok();
        let threads = (0..workers).filter_map(spawn).collect();
        Compiling { threads, cancelled }
    }

    /// What the backend needs to compile the kernels of this process faster in another one; `None` where it keeps
    /// nothing or keeps it itself. The bytes are for [`Gpu::restore_pipelines`], and mean nothing to others.
    pub fn pipeline_data(&self) -> Option<Vec<u8>> {
        let cache = self.inner.pipeline_cache.read().unwrap_or_else(PoisonError::into_inner).clone();
        let data = cache?.get_data()?;
        let device = self.device_words();
        let mut sealed =
            [MAGIC.as_slice(), blake3::hash(&[device.as_bytes(), &data].concat()).as_bytes()].concat();
        sealed.extend(data);
        Some(sealed)
    }

    /// Compiles from now on with the help of what [`Gpu::pipeline_data`] returned in an earlier process.
    ///
    /// The driver may trust these bytes as it trusts what it compiled itself. The checksum in front of them tells damage
    /// and another device, and is no signature: give it only bytes that nobody else could have written.
    ///
    /// # Errors
    ///
    /// If the bytes are damaged, or of another device or driver; nothing is changed then.
    pub fn restore_pipelines(&self, sealed: &[u8]) -> Result<()> {
        let refuse = |why: &str| Err(Error::Unsupported(format!("stored pipelines: {why}")));
        let Some((head, data)) = sealed.split_at_checked(MAGIC.len() + blake3::OUT_LEN) else {
            return refuse("they end within their header");
        };
        if !head.starts_with(MAGIC) {
            return refuse("these are none, or of another version");
        }
        let sum = blake3::hash(&[self.device_words().as_bytes(), data].concat());
        if sum.as_bytes() != &head[MAGIC.len()..] {
            return refuse("they are damaged, or of another device or driver");
        }
        if !self.device().features().contains(Features::PIPELINE_CACHE) {
            return refuse("this device takes none");
        }
        self.set_pipeline_cache(Some(data));
        Ok(())
    }

    /// Gives the device a cache for compiled kernels, where it has such.
    pub(crate) fn set_pipeline_cache(&self, data: Option<&[u8]>) {
        if !self.device().features().contains(Features::PIPELINE_CACHE) {
            return;
        }
        let descriptor = wgpu::PipelineCacheDescriptor { label: Some("strix"), data, fallback: true };
        #[expect(unsafe_code, reason = "wgpu cannot tell whose the data are")]
        // SAFETY: the data, if any, came from `get_data` of a cache of the same device and driver: they were sealed by
        // `pipeline_data` with a checksum over both, which `restore_pipelines` has just compared.
        let cache = unsafe { self.device().create_pipeline_cache(&descriptor) };
        *self.inner.pipeline_cache.write().unwrap_or_else(PoisonError::into_inner) = Some(cache);
    }

    /// Adapter, backend and driver with their versions.
    fn device_words(&self) -> String {
        let info = self.info();
        let key = wgpu::util::pipeline_cache_key(info).unwrap_or_default();
        format!("{key} {:?} {} {} {}", info.backend, info.name, info.driver, info.driver_info)
    }
}
