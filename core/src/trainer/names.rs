//! What PyTorch would call a parameter, found on a walk through a module.

/// The way from a module to one of its parameters.
#[derive(Debug, Default)]
pub(super) struct Path(Vec<Part>);

#[derive(Debug)]
struct Part {
    /// None for the variant of an enum, which PyTorch's names don't have.
    name: Option<String>,
    container: String,
}

impl Path {
    /// On `enter_module`.
    pub fn enter(&mut self, name: &str, container: &str) {
        let name = (!container.starts_with("Enum")).then(|| name.to_owned());
        self.0.push(Part { name, container: container.to_owned() });
    }

    /// On `exit_module`.
    pub fn exit(&mut self) {
        self.0.pop();
    }

    /// For instance `layer1.0.bn1.weight`.
    pub fn name(&self) -> String {
        let names = self.0.iter().filter_map(|part| match part.name.as_deref() {
            Some("gamma") => Some("weight"),
            Some("beta") => Some("bias"),
            other => other,
        });
        names.collect::<Vec<_>>().join(".")
    }

    /// Whether the parameter is one of a batch norm's.
    pub fn in_batch_norm(&self) -> bool {
        self.0.last().is_some_and(|part| part.container.starts_with("Struct:BatchNorm"))
    }
}

/// Whether a parameter of this name is the embedding layer's, which pretrained networks don't have.
pub(super) fn in_embedding(name: &str) -> bool {
    name.starts_with("embedding.")
}
