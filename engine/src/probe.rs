//! A small kernel that shows whether a device works at all.

use crate::region::Region;
use crate::shader::{Access, Binding, Shader};
use crate::{Error, Gpu, Result};

const LANES: u32 = 64;

/// Squares, a barrier, and the squares in reverse: what every kernel is made of.
const WGSL: &str = "\
@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;
var<workgroup> tile: array<u32, 64>;

@compute @workgroup_size(64)
fn probe(@builtin(local_invocation_index) i: u32) {
    tile[i] = x[i] * x[i];
    workgroupBarrier();
    y[i] = tile[63u - i] + i;
}
";

const BINDINGS: &[Binding] = &[
    Binding { number: 0, name: "x", access: Access::Read },
    Binding { number: 1, name: "y", access: Access::ReadWrite },
];

impl Gpu {
    /// Compiles and runs a small kernel.
    ///
    /// # Errors
    ///
    /// If the driver refuses it, loses the device, or computes something else.
    pub(crate) fn probe(&self) -> Result<()> {
        let shader = Shader {
            name: "probe",
            label: "probe".into(),
            variants: vec![],
            wgsl: WGSL.into(),
            bindings: BINDINGS.to_vec(),
        };
        let kernel = self.guarded(|| self.compile(&shader, None))??;
        let bytes = u64::from(4 * LANES);
        let (x, y) = (self.storage_buffer("probe x", bytes)?, self.storage_buffer("probe y", bytes)?);
        let values: Vec<u32> = (0..LANES).map(|i| 3 * i + 1).collect();
        self.upload(&x, bytemuck::cast_slice(&values))?;
        let device = self.device();
        let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("probe"),
            layout: &kernel.layout,
            entries: &[
                wgpu::BindGroupEntry { binding: 0, resource: x.as_entire_binding() },
                wgpu::BindGroupEntry { binding: 1, resource: y.as_entire_binding() },
            ],
        });
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.set_pipeline(&kernel.pipeline);
        pass.set_bind_group(0, &bind_group, &[]);
        pass.dispatch_workgroups(1, 1, 1);
        drop(pass);
        self.submit(encoder)?;
        let found: Vec<u32> = bytemuck::pod_collect_to_vec(&self.download(&Region::of(y, bytes))?);
        check(&values, &found).map_err(|reason| Error::Broken { adapter: self.name(), reason })
    }
}

/// Whether that is what the kernel makes of these values.
fn check(values: &[u32], found: &[u32]) -> std::result::Result<(), String> {
    let want = values.iter().rev().zip(0..).map(|(x, i)| x * x + i);
    match want.zip(found).enumerate().find(|(_, (want, found))| want != *found) {
        None => Ok(()),
        Some((i, (want, found))) => {
            Err(format!("of a small kernel it computes {found} as element {i}, which is {want}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_computed_wrong_is_told() {
        assert_eq!(check(&[2, 3], &[9, 5]), Ok(()));
        let told = check(&[2, 3], &[9, 0]).unwrap_err();
        assert_eq!(told, "of a small kernel it computes 0 as element 1, which is 5");
    }

    #[test]
    fn a_device_that_works_passes() {
        Gpu::new().unwrap().probe().unwrap();
    }
}
