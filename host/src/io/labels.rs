//! Classes by whole number or by name, which are only compared.

use crate::io::arrays::{Array, Values};
use std::collections::BTreeMap;

/// A class as its file has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Label {
    Number(i128),
    Name(String),
}

/// Classes of samples.
#[derive(Clone, Debug)]
pub struct Labels(Vec<Label>);

impl Labels {
    /// Those of an array, or why it has none.
    pub fn of(array: Array) -> Result<Self, String> {
        if !matches!(array.shape[..], [_] | [_, 1]) {
            let shape = array.shape;
            return Err(format!("has shape {shape:?}; labels have one dimension, [samples]"));
        }
        let number = |x: i128| Label::Number(x);
        Ok(Labels(match array.values {
            Values::Signed(numbers) => numbers.into_iter().map(|x| number(x.into())).collect(),
            Values::Unsigned(numbers) => numbers.into_iter().map(|x| number(x.into())).collect(),
            Values::Names(names) => names.into_iter().map(Label::Name).collect(),
            Values::Floats(_) => {
                return Err(
                    "has floats; labels are whole numbers, such as I64, or names".to_owned()
                );
            }
            Values::Unknown(kind) => {
                return Err(format!(
                    "has type {kind}; labels are whole numbers, such as I64, or names"
                ));
            }
        }))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What classes are called that have numbers of ours.
#[derive(Clone, Debug)]
pub struct Classes(Option<Vec<Label>>);

impl Classes {
    /// Numbers for the classes of several lists of samples, equal for equal ones. Whole numbers of 64 bits
    /// keep theirs; others, and names, are counted in their order.
    pub fn number(lists: &[&Labels]) -> (Self, Vec<Vec<i64>>) {
        let own = |label: &Label| match label {
            Label::Number(number) => i64::try_from(*number).ok(),
            Label::Name(_) => None,
        };
        let kept = lists.iter().map(|list| list.0.iter().map(own).collect()).collect();
        if let Some(numbers) = kept {
            return (Classes(None), numbers);
        }
        let all = lists.iter().flat_map(|list| &list.0).map(|label| (label.clone(), 0));
        let mut numbers: BTreeMap<Label, i64> = all.collect();
        numbers.values_mut().zip(0..).for_each(|(number, i)| *number = i);
        let of = |list: &&Labels| list.0.iter().map(|label| numbers[label]).collect();
        let lists = lists.iter().map(of).collect();
        (Classes(Some(numbers.into_keys().collect())), lists)
    }

    /// What a class is called.
    pub fn name(&self, class: i64) -> String {
        let label = self.0.as_ref().and_then(|names| names.get(usize::try_from(class).ok()?));
        match label {
            Some(Label::Name(name)) => name.clone(),
            Some(Label::Number(number)) => number.to_string(),
            None => class.to_string(),
        }
    }
}
