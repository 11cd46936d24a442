//! Recording a dispatch of a kernel with its CPU reference.

use strix_engine::{Access, Arg, Binding, Graph, Reference, Step, Tensor, TensorId};

use crate::kernel::Dispatch;

/// Something a kernel works on, if it is there.
pub(crate) trait Operand {
    /// The tensor.
    fn operand(&self) -> Option<TensorId>;
}

impl Operand for TensorId {
    fn operand(&self) -> Option<TensorId> {
        Some(*self)
    }
}

impl<T, const R: usize> Operand for Tensor<T, R> {
    fn operand(&self) -> Option<TensorId> {
        Some(self.id())
    }
}

impl<O: Operand> Operand for Option<O> {
    fn operand(&self) -> Option<TensorId> {
        self.as_ref().and_then(O::operand)
    }
}

/// Records one dispatch of a kernel with its CPU reference.
///
/// `dispatch!(g, Variants { .. }.over(groups), Params { .. }, [x, gain => y], reference)`: operands by the numbers of
/// their bindings, 1 and on, read ones before the arrow, written ones after it. One that is `None` is absent, and the
/// specialisation must have no such binding. `reference` is a function of `&Params`, a slice for each operand read and a
/// mutable slice for each written, in that order; an absent one is empty, others may be padded at their end to a multiple
/// of 16 bytes.
macro_rules! dispatch {
    ($g:expr, $dispatch:expr, $params:expr, [$($read:expr),* => $($write:expr),+], $reference:expr) => {{
        let reference: strix_engine::Reference = |args| {
            let params = bytemuck::pod_read_unaligned(args.params);
            let mut slices = $crate::dispatch::slices(args.bindings, args.tensors);
            let mut next = || slices.next().expect("one for every number");
            $reference(
                &params,
                $({ let _ = stringify!($read); bytemuck::cast_slice(next()) },)*
                $({ let _ = stringify!($write); bytemuck::cast_slice_mut(next()) },)+
            );
        };
        let read = [$($crate::dispatch::Operand::operand(&$read)),*];
        let written = [$($crate::dispatch::Operand::operand(&$write)),+];
        let params = $params;
        $crate::dispatch::record($g, &$dispatch, bytemuck::bytes_of(&params), &read, &written, reference);
    }};
}

pub(crate) use dispatch;

/// A slice for every number of a binding from 1 on; empty where there is none.
pub(crate) fn slices<'a>(
    bindings: &[Binding],
    tensors: &'a mut [Vec<u64>],
) -> impl Iterator<Item = &'a mut [u64]> {
    let mut tensors = tensors.iter_mut();
    (1..).map(move |number| match bindings.iter().any(|binding| binding.number == number) {
        true => tensors.next().expect("a tensor a binding").as_mut_slice(),
        false => &mut [],
    })
}

/// Records one dispatch: what [`dispatch!`] does.
pub(crate) fn record(
    g: &mut Graph,
    dispatch: &Dispatch,
    params: &[u8],
    read: &[Option<TensorId>],
    written: &[Option<TensorId>],
    reference: Reference,
) {
    let shader = &dispatch.specialisation.shader;
    let read = read.iter().map(|id| (id, Access::Read));
    let operands = read.chain(written.iter().map(|id| (id, Access::ReadWrite)));
    let mut args = vec![];
    for (number, (&id, access)) in (1..).zip(operands) {
        let bound = shader.bindings.iter().find(|binding| binding.number == number);
        assert_eq!(id.is_some(), bound.is_some(), "{}: operand {number} against {bound:?}", shader.label);
        args.extend(id.map(|id| Arg { id, access }));
    }
    g.push(Step {
        label: String::new(),
        shader: shader.clone(),
        params: params.to_vec(),
        args,
        groups: dispatch.groups,
        trips: dispatch.specialisation.trips(params),
        reference: Some(reference),
    });
}
