//! Many tensors as parts of one buffer. Each begins where a GPU can bind it, so that it is a view.

use burn::backend::Wgpu;
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{DType, Shape, Tensor};
use burn_wgpu::CubeTensor;
use cubecl::calculate_cube_count_elemwise;
use cubecl::client::Client;
use cubecl::prelude::*;
use cubecl::server::Handle;

/// Bytes of a number.
const SIZE: usize = 4;
/// Parts of one launch: each number of the buffer looks for its own.
const MOST: usize = 48;

/// Whether the parameters of a module lie on a GPU, in 32 bits, as its first does.
pub(crate) fn takes<M: Module>(module: &M) -> bool {
    struct First(Option<bool>);
    impl ModuleVisitor for First {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let on_gpu = || {
                let tensor = param.val().inner();
                tensor.dtype() == DType::F32 && tensor.try_into_primitive::<Wgpu>().is_ok()
            };
            if self.0.is_none() {
                self.0 = Some(on_gpu());
            }
        }
    }
    let mut first = First(None);
    module.visit(&mut first);
    first.0 == Some(true)
}

/// A tensor `[len]` that lies on a GPU, in 32 bits.
pub(super) fn primitive(tensor: &Tensor<1>) -> Option<CubeTensor> {
    (tensor.dtype() == DType::F32).then_some(())?;
    tensor.clone().try_into_primitive::<Wgpu>().ok()
}

/// Where parts of these lengths lie in one buffer.
pub(super) struct Layout {
    pub(super) starts: Vec<usize>,
    lengths: Vec<usize>,
    total: usize,
}

impl Layout {
    pub(super) fn new(parts: &[CubeTensor], client: &Client) -> Self {
        let align = (client.properties().memory.alignment as usize).div_ceil(SIZE).max(1);
        let lengths: Vec<usize> = parts.iter().map(|part| part.meta.num_elements()).collect();
        let mut total = 0;
        let start = |length: &usize| {
            let start = total;
            total += length.next_multiple_of(align);
            start
        };
        let starts = lengths.iter().map(start).collect();
        Layout { starts, lengths, total }
    }

    /// Where the next part begins, or the buffer ends.
    pub(super) fn end(&self, i: usize) -> usize {
        self.starts.get(i + 1).copied().unwrap_or(self.total)
    }

    /// A buffer for all parts, on the device of this tensor.
    pub(super) fn buffer(&self, like: &CubeTensor) -> CubeTensor {
        tensor(like, like.client.empty(self.total * SIZE), self.total)
    }

    /// The parts of a buffer, as tensors that share it.
    pub(super) fn views(&self, buffer: &CubeTensor) -> Vec<Tensor<1>> {
        let view = |(&start, &length): (&usize, &usize)| {
            let rest = (self.total - start - length) * SIZE;
            let handle = buffer.handle.clone().offset_start((start * SIZE) as u64);
            let tensor = tensor(buffer, handle.offset_end(rest as u64), length);
            Tensor::from_primitive::<Wgpu>(tensor)
        };
        self.starts.iter().zip(&self.lengths).map(view).collect()
    }

    /// The parts in one buffer: the one that they are views of, or a copy by as few launches as the device's
    /// number of bindings allows.
    pub(super) fn joined(&self, parts: &[CubeTensor]) -> CubeTensor {
        let first = &parts[0];
        if parts.iter().enumerate().all(|(i, part)| self.is_view(i, part, first)) {
            let mut handle = first.handle.clone();
            (handle.offset_start, handle.offset_end) = (None, None);
            return tensor(first, handle, self.total);
        }
        let buffer = self.buffer(first);
        // One binding is written, one holds sizes and scalars.
        let bindings = first.client.properties().hardware.max_bindings as usize;
        let most = bindings.saturating_sub(2).clamp(1, MOST);
        for (i, parts) in parts.chunks(most).enumerate() {
            let (begin, last) = (i * most, i * most + parts.len() - 1);
            let from = self.starts[begin];
            let (count, dim) = threads(&first.client, self.end(last) - from);
            let places = begin..begin + parts.len();
            gather::launch(
                &first.client,
                count,
                dim,
                sequence(parts.iter().cloned().map(CubeTensor::into_buffer_arg)),
                sequence(self.starts[places.clone()].iter().copied()),
                sequence(self.lengths[places].iter().copied()),
                from,
                buffer.clone().into_buffer_arg(),
            );
        }
        buffer
    }

    /// Whether a tensor is part `i` of the buffer that `first` lies in.
    fn is_view(&self, i: usize, part: &CubeTensor, first: &CubeTensor) -> bool {
        let (handle, whole) = (&part.handle, (self.total * SIZE) as u64);
        handle.size() == whole
            && handle.offset_start == Some((self.starts[i] * SIZE) as u64)
            && handle.memory.descriptor().id == first.handle.memory.descriptor().id
    }
}

/// So many numbers of a buffer, on the device of a tensor.
pub(super) fn tensor(like: &CubeTensor, handle: Handle, length: usize) -> CubeTensor {
    let (client, device) = (like.client.clone(), like.device.clone());
    CubeTensor::new_contiguous(client, device, Shape::from([length]), handle, like.dtype)
}

#[cube(launch)]
fn gather(
    parts: &Sequence<Box<[f32]>>,
    starts: &Sequence<usize>,
    lengths: &Sequence<usize>,
    from: usize,
    out: &mut [f32],
) {
    let at = from + ABSOLUTE_POS;
    #[unroll]
    for i in 0..parts.len() {
        if at >= starts[i] && at < starts[i] + lengths[i] {
            out[at] = parts[i][at - starts[i]];
        }
    }
}

/// A thread for each of so many numbers.
pub(super) fn threads(client: &Client, numbers: usize) -> (CubeCount, CubeDim) {
    let dim = CubeDim::new(client, numbers);
    (calculate_cube_count_elemwise(client, numbers, dim), dim)
}

/// Arguments of a kernel.
pub(super) fn sequence<T: LaunchArg>(
    values: impl Iterator<Item = T::RuntimeArg>,
) -> SequenceArg<T> {
    let mut out = SequenceArg::new();
    values.for_each(|value| out.push(value));
    out
}
