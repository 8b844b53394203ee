//! Dosovitskiy et al., "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale",
//! ICLR 2021, with timm's names, which the weights of Caron et al., "Emerging Properties in
//! Self-Supervised Vision Transformers", ICCV 2021 (DINO) have too.

use super::layers::{Init, Layer as _, full, imagenet, note, unit_rows};
use super::{Entry, Network, NetworkConfig, Output};
use crate::loss::Feature;
use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{LayerNorm, LayerNormConfig, Linear};
use burn::tensor::module::attention;
use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{Tensor, TensorData};

/// Side of a patch, in pixels.
const PATCH: usize = 16;
/// Patches along a side of the pictures that the position embeddings are for: 224 pixels.
const GRID: usize = 14;
/// Blocks, and after how many of them there is a feature map each time.
const DEPTH: [usize; 2] = [12, 3];

/// The networks of this file.
pub const NETWORKS: &[Entry] = &[
    Entry::new("vit_small", "vision transformer S/16", PAPER, file!(), |config, init| {
        Vit::new(config, 384, 6, init).into()
    }),
    Entry::new("vit_base", "vision transformer B/16", PAPER, file!(), |config, init| {
        Vit::new(config, 768, 12, init).into()
    }),
];

const PAPER: &str = "Dosovitskiy, Beyer, Kolesnikov, Weissenborn, Zhai, Unterthiner, Dehghani, \
    Minderer, Heigold, Gelly, Uszkoreit & Houlsby, \"An Image is Worth 16x16 Words: Transformers for \
    Image Recognition at Scale\", ICLR 2021.";

/// The patches of a picture as vectors.
#[derive(Module, Debug)]
pub struct PatchEmbed {
    proj: Conv2d,
}

/// Each token's value, averaged over the tokens that it looks at.
#[derive(Module, Debug)]
pub struct Attention {
    qkv: Linear,
    proj: Linear,
    heads: usize,
}

/// Two linear layers.
#[derive(Module, Debug)]
pub struct Mlp {
    fc1: Linear,
    fc2: Linear,
}

/// Attention and a perceptron, each behind a layer norm and added to its input.
#[derive(Module, Debug)]
pub struct Block {
    norm1: LayerNorm,
    attn: Attention,
    norm2: LayerNorm,
    mlp: Mlp,
}

/// Pictures `[n, 3, h, w]` to `[n, d]`; height and width are multiples of 16. Feature maps are the
/// patch tokens `[n, width, h/16, w/16]` after blocks 3, 6, 9 and 12, as the next block sees them; the
/// pooled vector is the class token after the last layer norm, which is DINO's feature.
#[derive(Module, Debug)]
pub struct Vit {
    cls_token: Param<Tensor<3>>,
    pos_embed: Param<Tensor<3>>,
    patch_embed: PatchEmbed,
    blocks: Vec<Block>,
    norm: LayerNorm,
    embedding: Linear,
    l2_norm: bool,
}

impl Vit {
    /// A network of tokens with `width` numbers. First values as timm's: normal with deviation 0.02,
    /// zero biases; the patches' convolution as PyTorch's default.
    pub fn new(config: &NetworkConfig, width: usize, heads: usize, init: Init) -> Self {
        let norm = || LayerNormConfig::new(width).with_epsilon(1e-6).init(init.device);
        let mut proj =
            Conv2dConfig::new([3, width], [PATCH; 2]).with_stride([PATCH; 2]).init(init.device);
        let deviation = (1.0 / (3 * 3 * PATCH * PATCH) as f64).sqrt();
        let dims = [width, 3, PATCH, PATCH];
        proj.weight = init.scaled("patch_embed.proj.weight", dims, deviation);
        proj.bias = Some(Param::from_tensor(Tensor::zeros([width], init.device)));
        let block = |i: usize| {
            let linear = |name: &str, input, output| {
                init.linear(&format!("blocks.{i}.{name}"), input, output, 0.02)
            };
            Block {
                norm1: norm(),
                attn: Attention {
                    qkv: linear("attn.qkv", width, 3 * width),
                    proj: linear("attn.proj", width, width),
                    heads,
                },
                norm2: norm(),
                mlp: Mlp {
                    fc1: linear("mlp.fc1", width, 4 * width),
                    fc2: linear("mlp.fc2", 4 * width, width),
                },
            }
        };
        Vit {
            cls_token: init.scaled("cls_token", [1, 1, width], 1e-6),
            pos_embed: init.scaled("pos_embed", [1, 1 + GRID * GRID, width], 0.02),
            patch_embed: PatchEmbed { proj },
            blocks: (0..DEPTH[0]).map(block).collect(),
            norm: norm(),
            embedding: init.embedding(width, config.embedding),
            l2_norm: config.l2_norm,
        }
    }

    /// Position embeddings `[1, 1 + h * w, width]` for so many patches, resampled as timm does if they
    /// aren't those of 224 pixels: bicubic, widened when shrinking. The class token keeps its own.
    fn positions(&self, [h, w]: [usize; 2]) -> Tensor<3> {
        let all = self.pos_embed.val();
        if [h, w] == [GRID; 2] {
            return all;
        }
        let width = all.dims()[2];
        let (rows, columns) = (bicubic(GRID, h), bicubic(GRID, w));
        let mut weights = Vec::with_capacity(h * w * GRID * GRID);
        for row in rows.chunks(GRID) {
            for column in columns.chunks(GRID) {
                weights.extend(row.iter().flat_map(|r| column.iter().map(move |c| r * c)));
            }
        }
        let weights = TensorData::new(weights, [h * w, GRID * GRID]);
        let weights = Tensor::<2>::from_data(weights, (&all.device(), all.dtype()));
        let grid = all.clone().narrow(1, 1, GRID * GRID).reshape([GRID * GRID, width]);
        let grid = weights.matmul(grid).reshape([1, h * w, width]);
        Tensor::cat(vec![all.narrow(1, 0, 1), grid], 1)
    }
}

impl Network for Vit {
    const SIZES: &'static str = "height and width must be multiples of 16";

    fn takes(side: usize) -> bool {
        side > 0 && side.is_multiple_of(PATCH)
    }

    /// As DINO's weights want them.
    fn input(images: Tensor<4>) -> Tensor<4> {
        imagenet(&images)
    }

    fn forward(&self, x: Tensor<4>) -> Output {
        let patches = self.patch_embed.proj.run(x);
        let [n, width, h, w] = patches.dims();
        let tokens = patches.reshape([n, width, h * w]).swap_dims(1, 2);
        let class = self.cls_token.val().expand([n, 1, width]);
        let mut x = Tensor::cat(vec![class, tokens], 1) + self.positions([h, w]);
        let mut features = Vec::new();
        for (i, block) in self.blocks.iter().enumerate() {
            x = block.forward(x);
            if (i + 1) % DEPTH[1] == 0 {
                let map = x.clone().narrow(1, 1, h * w).swap_dims(1, 2);
                features.push(Feature::Map(map.reshape([n, width, h, w])));
            }
        }
        let pooled = full(self.norm.run(x.narrow(1, 0, 1)).reshape([n, width]));
        features.push(Feature::Vector(pooled.clone()));
        Output { embedding: unit_rows(self.embedding.run(pooled), self.l2_norm), features }
    }
}

impl Block {
    /// `[n, t, width]` to the same.
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let x = x.clone() + self.attn.forward(self.norm1.run(x));
        let hidden = gelu(self.mlp.fc1.run(self.norm2.run(x.clone())));
        x + self.mlp.fc2.run(hidden)
    }
}

impl Attention {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [n, t, width] = x.dims();
        let dim = width / self.heads;
        let qkv = self.qkv.run(x);
        let [q, k, v] = [0, 1, 2].map(|i| {
            let part = qkv.clone().narrow(2, i * width, width);
            part.reshape([n, t, self.heads, dim]).swap_dims(1, 2)
        });
        // With the scale named, a GPU takes the same kernels as in training: no flash attention, whose
        // autotuning would let the numbers depend on the machine.
        let scale = Some((dim as f64).powf(-0.5));
        let options = AttentionModuleOptions { scale, ..AttentionModuleOptions::default() };
        let mixed = attention(q, k, v, None, None, options);
        note(self.qkv.weight.id, "attention", &[n, t, width], 2 * t);
        self.proj.run(mixed.swap_dims(1, 2).reshape([n, t, width]))
    }
}

/// `x (1 + erf(x / √2)) / 2`. Burn's own has the gradient of an approximation on GPUs.
fn gelu(x: Tensor<3>) -> Tensor<3> {
    let cdf = ((x.clone() * std::f64::consts::FRAC_1_SQRT_2).erf() + 1.0) * 0.5;
    x * cdf
}

/// Weights `[to, from]` that resample a line of `from` values bicubically (a = -0.5), the kernel
/// widened when shrinking: `torch.nn.functional.interpolate(…, mode="bicubic", antialias=True)`.
pub(crate) fn bicubic(from: usize, to: usize) -> Vec<f64> {
    let kernel = |x: f64| match x.abs() {
        x if x < 1.0 => (1.5 * x - 2.5) * x * x + 1.0,
        x if x < 2.0 => ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0,
        _ => 0.0,
    };
    let scale = from as f64 / to as f64;
    let stretch = scale.max(1.0);
    let mut weights = vec![0.0; to * from];
    for (o, row) in weights.chunks_mut(from).enumerate() {
        let centre = scale * (o as f64 + 0.5);
        let first = (centre - 2.0 * stretch + 0.5).max(0.0) as usize;
        let end = ((centre + 2.0 * stretch + 0.5) as usize).min(from);
        for (i, weight) in row.iter_mut().enumerate().take(end).skip(first) {
            *weight = kernel((i as f64 - centre + 0.5) / stretch);
        }
        let sum: f64 = row.iter().sum();
        for weight in row {
            *weight /= sum;
        }
    }
    weights
}
