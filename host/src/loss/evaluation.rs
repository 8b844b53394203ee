//! One step of a loss: its value, its terms, and the gradients of everything differentiable.

use burn::tensor::{Gradients, Tensor, TensorData};
use retort_core::{Inputs, LossError, Session, reshaped};
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
        let grads = grads.as_ref();
        let mut out = BTreeMap::new();
        if let Some(target) = &inputs.target {
            out.insert("target".to_owned(), gradient(target, grads));
        }
        for (level, feature) in inputs.target_features.iter().enumerate() {
            let name = format!("target_features.{level}");
            out.insert(name, feature.see(|map| gradient(map, grads), |v| gradient(v, grads)));
        }
        let state = session.state();
        for (name, param) in session.parameter_names().iter().zip(&session.parameters().values) {
            let key = format!("param.{name}");
            let data = gradient(&param.val(), grads);
            if let Some(shaped) = state.get(&key) {
                out.insert(key, reshaped(data, &shaped.shape().to_vec()));
            }
        }
        out
    }
}

/// A leaf's gradient, which is zero where nothing depends on it.
fn gradient<const D: usize>(leaf: &Tensor<D>, grads: Option<&Gradients>) -> TensorData {
    match grads.and_then(|grads| leaf.grad(grads)) {
        Some(gradient) => gradient.into_data(),
        None => leaf.clone().detach().zeros_like().into_data(),
    }
}
