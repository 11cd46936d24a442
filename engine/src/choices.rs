//! The specialisation of a kernel that is used in each situation.

use std::collections::BTreeMap;

/// Variants of a kernel, each with its value, in words.
pub type Specialisation = Vec<(String, String)>;

/// The best way found to specialise a kernel, for each kernel and situation. What the words mean is the kernels' own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choices {
    ways: BTreeMap<(String, String), Specialisation>,
}

impl Choices {
    /// The way of `kernel` in `situation`, if one was set.
    pub fn get(&self, kernel: &str, situation: &str) -> Option<&[(String, String)]> {
        self.ways.get(&(kernel.to_owned(), situation.to_owned())).map(Vec::as_slice)
    }

    /// Sets the way of `kernel` in `situation`.
    pub fn set(&mut self, kernel: impl Into<String>, situation: impl Into<String>, way: Specialisation) {
        self.ways.insert((kernel.into(), situation.into()), way);
    }

    /// Kernel, situation and way of all that were set, in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, &[(String, String)])> {
        self.ways.iter().map(|((kernel, situation), way)| (kernel.as_str(), situation.as_str(), &way[..]))
    }

    /// Number of choices that were set.
    pub fn len(&self) -> usize {
        self.ways.len()
    }

    /// Whether none was set.
    pub fn is_empty(&self) -> bool {
        self.ways.is_empty()
    }
}

/// A choice that a kernel made while it was recorded, and what else it could have taken.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Decision {
    /// The kernel.
    pub kernel: String,
    /// When it is used: a class of shapes.
    pub situation: String,
    /// Every way that is legal on the device.
    pub legal: Vec<Specialisation>,
    /// Index of the way that was taken.
    pub taken: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_way_set_is_the_one_that_is_found() {
        let way = |rows: &str| vec![("rows".to_owned(), rows.to_owned())];
        let mut choices = Choices::default();
        assert!(choices.is_empty() && choices.get("gemm", "int8 many").is_none());
        choices.set("gemm", "int8 many", way("8"));
        choices.set("gemm", "int8 one", way("1"));
        choices.set("gemm", "int8 many", way("16"));
        assert_eq!(choices.get("gemm", "int8 many"), Some(&way("16")[..]));
        assert_eq!(choices.get("attention", "int8 many"), None);
        let all: Vec<_> = choices.iter().map(|(kernel, situation, _)| (kernel, situation)).collect();
        assert_eq!(all, [("gemm", "int8 many"), ("gemm", "int8 one")]);
        assert_eq!(choices.len(), 2);
    }
}
