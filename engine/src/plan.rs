//! Memory of a graph, planned before any is allocated: which activations share bytes, and how many are needed.

use crate::graph::{Graph, ValueKind};
use crate::{Access, TensorId};

/// Where every activation of a graph will live.
///
/// wgpu tracks use per buffer and refuses one that a dispatch both reads and writes, even at disjoint
/// ranges. So activations share whole buffers ("slots"), and a slot is free again only after the last step
/// that reads its tensor: a step's inputs and outputs are then always in different buffers.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Bytes of each slot.
    pub slots: Vec<u64>,
    /// Slot of each activation, by tensor.
    pub(crate) slot_of: Vec<Option<usize>>,
    /// Memory and loops that the graph needs.
    pub usage: Usage,
}

/// Bytes and dispatches of a graph.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Device bytes of all slots together: the peak of the activations.
    pub activation_bytes: u64,
    /// Bytes that the activations would take without sharing.
    pub unshared_bytes: u64,
    /// Device bytes of tensors that the host writes.
    pub input_bytes: u64,
    /// Device bytes of weights, tables and caches the graph uses, shared with other programs.
    pub resident_bytes: u64,
    /// Bytes of the largest of those activations and inputs; a binding must hold it.
    pub largest_bytes: u64,
    /// Most loop iterations of one invocation of any step.
    pub trips: u64,
    /// Dispatches a run.
    pub dispatches: usize,
}

impl Graph {
    /// Assigns memory by liveness. Allocates nothing.
    pub fn plan(&self) -> Plan {
        let mut first = vec![usize::MAX; self.values.len()];
        let mut last = vec![0; self.values.len()];
        for (at, step) in self.steps.iter().enumerate() {
            for arg in &step.args {
                let v = arg.id.0 as usize;
                if first[v] == usize::MAX {
                    let ours = matches!(self.values[v].kind, ValueKind::Activation);
                    assert!(!ours || arg.access == Access::ReadWrite, "{}: read before written", step.label);
                    first[v] = at;
                }
                last[v] = at;
            }
        }

        let mut slots: Vec<u64> = vec![];
        let mut busy_until: Vec<usize> = vec![];
        let mut slot_of = vec![None; self.values.len()];
        for (at, step) in self.steps.iter().enumerate() {
            for arg in &step.args {
                let v = arg.id.0 as usize;
                let value = &self.values[v];
                if !matches!(value.kind, ValueKind::Activation) || first[v] != at || slot_of[v].is_some() {
                    continue;
                }
                // The free slot that fits with least waste, else the largest to grow, else a new one.
                let free = (0..slots.len()).filter(|&s| busy_until[s] < at && !value.output);
                let best = free.min_by_key(|&s| match slots[s].checked_sub(value.bytes) {
                    Some(waste) => (0, waste),
                    None => (1, value.bytes - slots[s]),
                });
                let slot = best.unwrap_or_else(|| {
                    slots.push(0);
                    busy_until.push(0);
                    slots.len() - 1
                });
                slots[slot] = slots[slot].max(value.bytes);
                busy_until[slot] = if value.output { usize::MAX } else { last[v] };
                slot_of[v] = Some(slot);
            }
        }

        let total = |keep: fn(&ValueKind) -> bool| {
            self.values.iter().filter(|v| keep(&v.kind)).map(|v| v.bytes).sum()
        };
        let inputs = self.values.iter().filter(|v| matches!(v.kind, ValueKind::Input)).map(|v| v.bytes);
        let usage = Usage {
            trips: self.steps.iter().map(|step| step.trips).max().unwrap_or(0),
            largest_bytes: slots.iter().copied().chain(inputs).max().unwrap_or(0),
            activation_bytes: slots.iter().sum(),
            unshared_bytes: total(|k| matches!(k, ValueKind::Activation)),
            input_bytes: total(|k| matches!(k, ValueKind::Input)),
            resident_bytes: self.storages().map(|storage| storage.bytes).sum(),
            dispatches: self.steps.len(),
        };
        Plan { slots, slot_of, usage }
    }
}

impl Plan {
    /// Slot of an activation; `None` for inputs, weights and unused tensors.
    pub fn slot(&self, id: TensorId) -> Option<usize> {
        self.slot_of[id.0 as usize]
    }
}
