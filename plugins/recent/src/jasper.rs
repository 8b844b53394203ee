//! Zhang, Li, Zeng & Wang, "Jasper and Stella: Distillation of SOTA Embedding Models", arXiv 2024;
//! formulas of NovaSearch-Team/RAG-Retrieval, model_distill.py.

use retort_sdk::prelude::*;

hyper! {
    /// The target's embedding is the source's, and at several widths its similarities are, in value and in
    /// order.
    ///
    /// L = 10 meanᵢ (1 - cos(tᵢ, sᵢ)) + meanₖ [ 200 meanᵢⱼ (cᵏᵢⱼ - cˢᵢⱼ)² + 20 mean_{p<q} [m - sign(cˢₚ - c^s_q)(cᵏₚ - cᵏ_q)]₊ ],
    /// where cᵏ are the cosines of the first k coordinates, cˢ the source's, and p, q are pairs of samples.
    ///
    /// As in the authors' code, m is 0.015, and pairs that the source finds equally near count as ordered as they
    /// come. The number of elements grows with the fourth power of the batch.
    #[exempt(scaling = "it compares all pairs with all pairs")]
    pub struct Jasper {
        /// A width beside the full one; 0 is none.
        width_1: usize = 0,
        /// Another width; 0 is none.
        width_2: usize = 0,
        /// Another width; 0 is none.
        width_3: usize = 0,
    }
}

/// m, by how much a pair is nearer.
const MARGIN: f64 = 0.015;

impl Loss for Jasper {
    fn loss(&self, step: &Step) -> Tensor {
        let (t, s) = (step.target(), step.source().normalize(1)); // [n, d]
        step.need_same_shape(t, s, "give both networks one width");
        let (n, d) = (t.dim(0), t.dim(1));
        if n < 3 {
            return step.undefined("fewer than three samples have no two pairs to compare");
        }
        let pairs = upper(step, n); // [p]
        let p = pairs.len();
        let numbers = step.range(0..p).float();
        let later = numbers.reshape([1, p]).greater(numbers.reshape([p, 1])); // [p, p]
        let differences = |cos: Tensor| {
            let cos = cos.flat().gather(0, pairs);
            cos.reshape([1, p]) - cos.reshape([p, 1])
        };
        let source = s.matmul(s.t()); // [n, n]
        let order = differences(source).below(0.0) * 2.0 - 1.0;

        let (mut similarity, mut ranking, mut widths) = (None, None, 0);
        let add = |sum: Option<Tensor>, x: Tensor| Some(sum.map_or(x, |sum| sum + x));
        for width in [self.width_1, self.width_2, self.width_3, d] {
            if width > d {
                return step.fail(&format!("the embeddings have {d} coordinates, fewer than {width}"));
            }
            if width == 0 {
                continue;
            }
            let x = t.slice(1, 0..width).normalize(1);
            let cos = x.matmul(x.t());
            similarity = add(similarity, (cos - source).square().mean());
            let violation = (differences(cos) * order + MARGIN).relu() * later;
            ranking = add(ranking, violation.sum() / (p * (p - 1) / 2));
            widths += 1;
        }
        let cosine = 1.0 - row_cosine(t, s).mean();
        step.log("cosine", cosine);
        let zero = step.constant([], &[0.0]);
        let (similarity, ranking) = (similarity.unwrap_or(zero), ranking.unwrap_or(zero));
        10.0 * cosine + (200.0 * similarity + 20.0 * ranking) / widths
    }
}

/// Places of the pairs i < j in a flattened `[n, n]` matrix: `[n(n-1)/2]`.
fn upper(step: &Step, n: usize) -> Index {
    let pairs = (0..n).flat_map(|i| (i + 1..n).map(move |j| (i * n + j) as i64));
    let places: Vec<i64> = pairs.collect();
    step.constant_index([places.len()], &places)
}
