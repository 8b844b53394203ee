//! Operation -> Burn, one arm each. Shapes were worked out when the operation was recorded.

use super::node::{Attributes, Fallible, Shape, Value};
use super::order::argsort;
use super::rules::swapped;
use burn::tensor::{Bool, DType, Device, FloatDType, Int, Tensor, TensorData, activation, module};
use retort_sdk::Op;

/// Where and with which numbers an operation computes.
pub(crate) struct Place<'a> {
    pub(crate) device: &'a Device,
    pub(crate) dtype: FloatDType,
    /// Whether the device checks nothing.
    pub(crate) gpu: bool,
}

/// Operands, taken one by one.
struct Operands(std::vec::IntoIter<Value>);

impl Operands {
    fn float(&mut self) -> Fallible<Tensor<4>> {
        match self.0.next() {
            Some(Value::Float(tensor)) => Ok(tensor),
            _ => Err("an operand isn't floats".to_owned()),
        }
    }

    fn int(&mut self) -> Fallible<Tensor<4, Int>> {
        match self.0.next() {
            Some(Value::Int(tensor)) => Ok(tensor),
            _ => Err("an operand isn't integers".to_owned()),
        }
    }
}

impl Place<'_> {
    fn mask(&self, mask: Tensor<4, Bool>) -> Value {
        Value::Float(mask.float().cast(self.dtype))
    }

    /// Computes an operation whose result has this shape.
    pub(crate) fn run(
        &self,
        op: Op,
        operands: Vec<Value>,
        attrs: Attributes,
        shape: Shape,
    ) -> Fallible<Value> {
        let dims = shape.padded;
        let x = attrs.number(0);
        if matches!(op, Op::Equal) {
            return match <[Value; 2]>::try_from(operands) {
                Ok([Value::Float(a), Value::Float(b)]) => {
                    Ok(self.mask(a.detach().expand(dims).equal(b.detach().expand(dims))))
                }
                Ok([Value::Int(a), Value::Int(b)]) => {
                    Ok(self.mask(a.expand(dims).equal(b.expand(dims))))
                }
                _ => Err("an operand is missing".to_owned()),
            };
        }
        let mut of = Operands(operands.into_iter());
        if let Some(value) = self.integers(op, &mut of, attrs, dims)? {
            return Ok(value);
        }
        let a = of.float()?;
        let out = match op {
            Op::Add => a + of.float()?,
            Op::Sub => a - of.float()?,
            Op::Mul => a * of.float()?,
            Op::Div => a / of.float()?,
            // Burn's gives its first operand the whole gradient where both are equal, and the value where
            // one is NaN. Half of either order: exact, and each operand's half.
            Op::Max => {
                let b = of.float()?;
                a.clone().max_pair(b.clone()).mul_scalar(0.5) + b.max_pair(a).mul_scalar(0.5)
            }
            Op::Min => {
                let b = of.float()?;
                a.clone().min_pair(b.clone()).mul_scalar(0.5) + b.min_pair(a).mul_scalar(0.5)
            }
            Op::Greater => return Ok(self.mask(a.detach().greater(of.float()?.detach()))),
            Op::Select => {
                let (b, mask) = (of.float()?, of.float()?);
                let mask = mask.detach().expand(dims).not_equal_elem(0.0);
                b.expand(dims).mask_where(mask, a.expand(dims))
            }
            Op::AddScalar => a.add_scalar(x),
            Op::MulScalar => a.mul_scalar(x),
            // Burn's gradient of `div_scalar` rounds 1/x to 32 bits, also in f64.
            Op::DivScalar => a.mul_scalar(x.recip()),
            Op::PowScalar => a.powf_scalar(x),
            Op::ClampMin => a.clamp_min(x),
            Op::ClampMax => a.clamp_max(x),
            Op::Neg => a.neg(),
            Op::Exp => a.exp(),
            Op::Ln => a.log(),
            Op::Ln1p => a.log1p(),
            Op::Sqrt => a.sqrt(),
            Op::Relu => activation::relu(a),
            Op::Abs => a.abs(),
            Op::Tanh => a.tanh(),
            Op::Sigmoid => activation::sigmoid(a),
            Op::Sin => a.sin(),
            Op::Cos => a.cos(),
            Op::Detach | Op::Once => a.detach(),
            Op::Sum => a.sum().reshape(dims),
            Op::SumDim => a.sum_dim(attrs.dimension(0)),
            Op::MeanDim => a.mean_dim(attrs.dimension(0)),
            Op::MaxDim => a.max_dim(attrs.dimension(0)),
            Op::MinDim => a.min_dim(attrs.dimension(0)),
            Op::CumSum => a.cumsum(attrs.dimension(0)),
            Op::Matmul => a.matmul(of.float()?),
            Op::Transpose | Op::SwapDims => {
                let (d, e) = swapped(op, attrs);
                // Flex sums wrong strides where two dimensions of size 1 were exchanged: it changes nothing.
                if dims[d] == 1 && dims[e] == 1 { a } else { a.swap_dims(d, e) }
            }
            Op::Reshape => a.reshape(dims),
            Op::Slice => {
                let d = attrs.dimension(0);
                a.narrow(d, attrs.size(1), dims[d])
            }
            Op::Cat => Tensor::cat(vec![a, of.float()?], attrs.dimension(0)),
            Op::Rows => {
                let index = of.int()?;
                let m = index.dims()[3];
                a.select(4 - shape.rank, index.reshape([m]))
            }
            Op::Gather => a.gather(attrs.dimension(0), of.int()?),
            Op::AdaptiveAvgPool => module::adaptive_avg_pool2d(a, [dims[2], dims[3]]),
            Op::Argsort => {
                return Ok(Value::Int(argsort(a.detach(), attrs.dimension(0), self.device)?));
            }
            other => return Err(format!("{other} isn't computed")),
        };
        Ok(Value::Float(out))
    }

    /// The operations on integers, and those without operands.
    fn integers(
        &self,
        op: Op,
        of: &mut Operands,
        attrs: Attributes,
        dims: [usize; 4],
    ) -> Fallible<Option<Value>> {
        let out = match op {
            Op::ReshapeIndex => of.int()?.reshape(dims),
            Op::SliceIndex => {
                let d = attrs.dimension(0);
                of.int()?.narrow(d, attrs.size(1), dims[d])
            }
            Op::CatIndex => Tensor::cat(vec![of.int()?, of.int()?], attrs.dimension(0)),
            Op::GatherIndex => {
                let a = of.int()?;
                a.gather(attrs.dimension(0), of.int()?)
            }
            Op::AddIndex => of.int()? + of.int()?,
            Op::ModIndex => {
                let n = attrs.size(0) as i64;
                let rest = of.int()?.remainder_scalar(n);
                // What the bounds say must be so, whatever a GPU's driver makes of a division.
                if self.gpu { rest.clamp(0, n - 1) } else { rest }
            }
            Op::Constant | Op::ConstantIndex => {
                let values = attrs.rest(1 + attrs.size(0));
                if op == Op::Constant {
                    let data = TensorData::new(values.to_vec(), dims);
                    let place = (self.device, DType::from(self.dtype));
                    return Ok(Some(Value::Float(Tensor::from_data(data, place))));
                }
                let values: Vec<i64> = values.iter().map(|&v| v as i64).collect();
                Tensor::from_data(TensorData::new(values, dims), self.device)
            }
            Op::Range => {
                let (start, end) = (attrs.size(0) as i64, attrs.size(1) as i64);
                Tensor::<1, Int>::arange(start..end, self.device).reshape(dims)
            }
            Op::OneHot => {
                let (index, [_, _, n, classes]) = (of.int()?, dims);
                let all = Tensor::<1, Int>::arange(0..classes as i64, self.device);
                let all = all.reshape([1, 1, 1, classes]).expand(dims);
                let mask = index.reshape([1, 1, n, 1]).expand(dims).equal(all);
                return Ok(Some(self.mask(mask)));
            }
            Op::Float => return Ok(Some(Value::Float(of.int()?.float().cast(self.dtype)))),
            Op::Eye => {
                let eye = Tensor::<2>::eye(dims[2], self.device).reshape(dims);
                return Ok(Some(Value::Float(eye.cast(self.dtype))));
            }
            _ => return Ok(None),
        };
        Ok(Some(Value::Int(out)))
    }
}
