//! One step of a loss: its value, its terms, and the gradients of everything differentiable.

use burn::tensor::{Tensor, TensorData};
use retort_core::{Feature, Inputs, LossError, Session, reshaped};
use std::collections::BTreeMap;

/// What a loss gave in one step.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// The loss.
    pub value: f64,
    /// What it reported beside.
    pub terms: BTreeMap<String, f64>,
    scalar: Tensor<1>,
}

impl Evaluation {
    /// Runs a step, whose buffer writes wait for [`Session::commit`].
    pub fn run(session: &mut Session, inputs: &Inputs) -> Result<Self, LossError> {
        let outcome = session.step(inputs)?;
        let number = |t: &Tensor<1>| t.clone().into_data().iter::<f64>().next().unwrap_or(f64::NAN);
        Ok(Evaluation {
            value: number(&outcome.value),
            terms: outcome.terms.iter().map(|(name, t)| (name.clone(), number(t))).collect(),
            scalar: outcome.value,
        })
    }

    /// Gradients of those inputs that are leaves of the graph, and of the parameters: `target`,
    /// `target_features.0` …, `param.<name>` …; zeros where the loss doesn't depend on one.
    pub fn gradients(
        &self,
        session: &Session,
        inputs: &Inputs,
    ) -> Result<BTreeMap<String, TensorData>, LossError> {
        retort_core::guarded(|| self.all_gradients(session, inputs))
            .map_err(|why| LossError::refused(session.name(), &why))
    }

    fn all_gradients(&self, session: &Session, inputs: &Inputs) -> BTreeMap<String, TensorData> {
        let grads = self.scalar.is_tracked().then(|| self.scalar.backward());
        let mut out = BTreeMap::new();
        macro_rules! put {
            ($name:expr, $leaf:expr) => {{
                let found = grads.as_ref().and_then(|grads| $leaf.grad(grads));
                let data = match found {
                    Some(gradient) => gradient.into_data(),
                    None => $leaf.clone().detach().zeros_like().into_data(),
                };
                out.insert($name, data);
            }};
        }
        if let Some(target) = &inputs.target {
            put!("target".to_owned(), target);
        }
        for (level, feature) in inputs.target_features.iter().enumerate() {
            let name = format!("target_features.{level}");
            match feature {
                Feature::Map(map) => put!(name, map),
                Feature::Vector(vector) => put!(name, vector),
            }
        }
        let state = session.state();
        for (name, param) in session.parameter_names().iter().zip(&session.parameters().values) {
            let key = format!("param.{name}");
            put!(key.clone(), param.val());
            if let (Some(data), Some(shaped)) = (out.remove(&key), state.get(&key)) {
                out.insert(key, reshaped(data, &shaped.shape().to_vec()));
            }
        }
        out
    }
}
