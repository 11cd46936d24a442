//! The device: its queue, its pipelines and its counters.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use wgpu::Features;

use crate::adapters::name;
use crate::ring::Ring;
use crate::{Choices, Error, Result, Sharing, Target};

/// Numbers of objects created on the device so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Created {
    /// Buffers.
    pub buffers: u64,
    /// Bytes of those buffers that kernels bind as storage.
    pub storage_bytes: u64,
    /// Bytes of the host's memory that kernels read where they are, in no buffer of ours.
    pub imported_bytes: u64,
    /// Bind groups.
    pub bind_groups: u64,
    /// Compute pipelines.
    pub pipelines: u64,
}

/// A device, its queue and the pipelines compiled on it. Clones share them.
#[derive(Clone, Debug)]
pub struct Gpu {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    info: wgpu::AdapterInfo,
    pub(crate) target: RwLock<Target>,
    /// Each behind its own lock, so that several are compiled at once.
    pub(crate) pipelines: Mutex<HashMap<String, Arc<Mutex<Option<Pipeline>>>>>,
    pub(crate) pipeline_cache: RwLock<Option<wgpu::PipelineCache>>,
    pub(crate) buffers: AtomicU64,
    pub(crate) storage_bytes: AtomicU64,
    pub(crate) imported_bytes: AtomicU64,
    pub(crate) bind_groups: AtomicU64,
    pub(crate) pipelines_created: AtomicU64,
    pub(crate) submits: AtomicU64,
    /// Set once the device is found to be lost.
    pub(crate) lost: AtomicBool,
    /// Whether host memory may be imported; unset when the driver refuses.
    pub(crate) imports: AtomicBool,
    pub(crate) ring: Mutex<Ring>,
    pub(crate) sharing: Sharing,
    /// Bytes that may still be copied to it before the app's next frame.
    pub(crate) upload_left: AtomicU64,
    /// Set by whoever chose among adapters.
    pub(crate) passed_over: OnceLock<Vec<String>>,
    shares: bool,
    memory_bytes: Option<u64>,
}

/// A compiled kernel.
#[derive(Clone, Debug)]
pub(crate) struct Pipeline {
    pub(crate) pipeline: wgpu::ComputePipeline,
    pub(crate) layout: wgpu::BindGroupLayout,
}

impl Inner {
    /// A device that nothing was made on yet.
    pub(crate) fn new(
        device: wgpu::Device,
        queue: wgpu::Queue,
        target: Target,
        shares: bool,
        imports: bool,
        memory_bytes: Option<u64>,
        sharing: Sharing,
    ) -> Self {
        Self {
            info: device.adapter_info(),
            device,
            queue,
            target: RwLock::new(target),
            pipelines: Mutex::default(),
            pipeline_cache: RwLock::default(),
            buffers: AtomicU64::new(0),
            storage_bytes: AtomicU64::new(0),
            imported_bytes: AtomicU64::new(0),
            bind_groups: AtomicU64::new(0),
            pipelines_created: AtomicU64::new(0),
            submits: AtomicU64::new(0),
            lost: AtomicBool::new(false),
            imports: AtomicBool::new(imports),
            ring: Mutex::default(),
            sharing,
            upload_left: AtomicU64::new(0),
            passed_over: OnceLock::new(),
            shares,
            memory_bytes,
        }
    }
}

impl Gpu {
    /// Adapters that come before this one and do not work, each with what is wrong with it.
    pub fn passed_over(&self) -> &[String] {
        self.inner.passed_over.get().map_or(&[], Vec::as_slice)
    }

    /// The wgpu device, to share with other code.
    pub fn device(&self) -> &wgpu::Device {
        &self.inner.device
    }

    /// The wgpu queue, to share with other code.
    pub fn queue(&self) -> &wgpu::Queue {
        &self.inner.queue
    }

    /// The adapter, of a device that Strix opened or that was [shared](Gpu::share) with it.
    pub fn adapter(&self) -> Option<&wgpu::Adapter> {
        self.inner.sharing.adapter.as_ref()
    }

    /// Name, backend and driver of the adapter.
    pub fn info(&self) -> &wgpu::AdapterInfo {
        &self.inner.info
    }

    /// Name and backend, as printed: `llvmpipe (LLVM 15.0.6, 256 bits) (Vulkan)`.
    pub fn name(&self) -> String {
        name(&self.inner.info)
    }

    /// Whether its memory is the host's: a software driver or an integrated GPU.
    pub fn shares_memory(&self) -> bool {
        self.inner.shares
    }

    /// Whether tensors use the host's bytes where they are, without a copy.
    pub fn imports(&self) -> bool {
        self.inner.imports.load(Ordering::Relaxed)
    }

    /// Whether the device can tell the time of each step.
    ///
    /// # Errors
    ///
    /// If it cannot: it has no timestamp queries.
    pub fn can_profile(&self) -> Result<()> {
        match self.inner.device.features().contains(Features::TIMESTAMP_QUERY) {
            true => Ok(()),
            false => Err(Error::Unsupported(format!(
                "{} has no timestamp queries, which profiling needs",
                self.name()
            ))),
        }
    }

    /// Whether the host may map the buffers that kernels read.
    pub fn maps_storage(&self) -> bool {
        self.inner.device.features().contains(Features::MAPPABLE_PRIMARY_BUFFERS) && self.inner.shares
    }

    /// Bytes of memory that the device had free when it was opened; all of its own where the driver does not say what
    /// is used. `None` where nothing tells.
    pub fn memory_bytes(&self) -> Option<u64> {
        self.inner.memory_bytes
    }

    /// The target that graphs for this device are recorded for.
    pub fn target(&self) -> Target {
        self.inner.target.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets what was found to be best on this device. Graphs recorded before are not changed by it.
    pub fn set_choices(&self, choices: Choices) {
        let mut target = self.inner.target.write().unwrap_or_else(PoisonError::into_inner);
        target.choices = choices.into();
    }

    /// Numbers of objects created so far. They do not change while tokens flow.
    pub fn created(&self) -> Created {
        Created {
            buffers: self.inner.buffers.load(Ordering::Relaxed),
            storage_bytes: self.inner.storage_bytes.load(Ordering::Relaxed),
            imported_bytes: self.inner.imported_bytes.load(Ordering::Relaxed),
            bind_groups: self.inner.bind_groups.load(Ordering::Relaxed),
            pipelines: self.inner.pipelines_created.load(Ordering::Relaxed),
        }
    }

    /// Number of submits of command buffers so far.
    pub fn submits(&self) -> u64 {
        self.inner.submits.load(Ordering::Relaxed)
    }
}
