//! Which specialisation of a kernel is recorded: the one forced, the one found best on this device, or the one that
//! is best on devices of its class.
//!
//! A kernel lists the ways that are legal on the device, for a *situation*: a class of shapes, in words such as
//! `int8 rows=many`. Ways are a type of the kernel's own; in words they are stored, and printed.

use std::fmt::{self, Debug};

use strix_engine::{Decision, Family, Graph, Target};

use crate::generated::variants::Lanes;
use crate::kernel::{self, Value};

/// One of the ways in which a kernel can be specialised.
pub(crate) trait Way: Copy + Debug + PartialEq {
    /// The family it belongs to.
    fn family(self) -> Family;

    /// Variants in which it differs from others of its family, each with its value.
    fn values(self) -> Vec<(&'static str, Value)>;
}

/// The way of a kernel that has one for each family.
impl Way for Family {
    fn family(self) -> Family {
        self
    }

    fn values(self) -> Vec<(&'static str, Value)> {
        vec![]
    }
}

/// A way as it is stored and printed.
fn words(way: impl Way) -> strix_engine::Specialisation {
    let family = ("family".to_owned(), way.family().name().to_owned());
    let values = way.values().into_iter().map(|(name, value)| (name.to_owned(), value.to_string()));
    [family].into_iter().chain(values).collect()
}

/// Class of numbers of rows: the best way for one row is not the best for hundreds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowClass {
    One,
    Two,
    Four,
    Eight,
    Few,
    Many,
}

impl RowClass {
    /// That of so many rows.
    pub(crate) fn class(rows: u32) -> Self {
        match rows {
            1 => Self::One,
            2 => Self::Two,
            3..=4 => Self::Four,
            5..=8 => Self::Eight,
            9..=16 => Self::Few,
            _ => Self::Many,
        }
    }
}

impl fmt::Display for RowClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::One => "rows=one",
            Self::Two => "rows=two",
            Self::Four => "rows=four",
            Self::Eight => "rows=eight",
            Self::Few => "rows=few",
            Self::Many => "rows=many",
        })
    }
}

/// The way in which `kernel` is recorded in `situation`, noted in the graph as a decision.
///
/// A family that was asked for wins, by its nearest where the kernel has no such; then the choice stored for this
/// device, if it is legal; then `best`, of devices of the class; then the first legal way of the class's family.
///
/// # Panics
///
/// If no way is legal.
pub(crate) fn choose<W: Way>(
    g: &mut Graph,
    kernel: &str,
    situation: &str,
    legal: &[W],
    best: Option<W>,
) -> W {
    assert!(!legal.is_empty(), "{kernel}: no way is legal in {situation}");
    let taken = pick(g.target(), kernel, situation, legal, best);
    g.decided(Decision {
        kernel: kernel.into(),
        situation: situation.into(),
        legal: legal.iter().copied().map(words).collect(),
        taken,
    });
    legal[taken]
}

/// Index of the way that [`choose`] takes.
fn pick<W: Way>(target: &Target, kernel: &str, situation: &str, legal: &[W], best: Option<W>) -> usize {
    let allowed = match target.forced {
        true => of_family(legal, target.family),
        false => (0..legal.len()).collect(),
    };
    if let Some(way) = target.choices.get(kernel, situation)
        && let Some(&stored) = allowed.iter().find(|&&i| is_same(&words(legal[i]), way))
    {
        return stored;
    }
    if let Some(&best) = allowed.iter().find(|&&i| Some(legal[i]) == best) {
        return best;
    }
    if target.forced { allowed[0] } else { of_family(legal, target.class())[0] }
}

/// Indices of the ways of a family, or of the nearest that there is.
fn of_family<W: Way>(legal: &[W], family: Family) -> Vec<usize> {
    let nearest = match family {
        Family::Subgroup => [Family::Subgroup, Family::Tiled, Family::Plain],
        Family::Tiled => [Family::Tiled, Family::Subgroup, Family::Plain],
        Family::Plain => [Family::Plain, Family::Tiled, Family::Subgroup],
        Family::Coop => [Family::Coop, Family::Tiled, Family::Plain],
    };
    let of = |family| (0..legal.len()).filter(|&i| legal[i].family() == family).collect::<Vec<_>>();
    let found = nearest.into_iter().map(of).find(|found| !found.is_empty());
    found.unwrap_or_else(|| (0..legal.len()).collect())
}

/// Whether two ways name the same values, in any order.
fn is_same(way: &[(String, String)], other: &[(String, String)]) -> bool {
    way.len() == other.len() && way.iter().all(|pair| other.contains(pair))
}

impl From<Option<u32>> for Lanes {
    fn from(lanes: Option<u32>) -> Self {
        lanes.map_or(Self::Plain, Self::Of)
    }
}

/// Value of the variant `lanes` for a kernel over so many rows: a subgroup, none (`plain`), or many, of whatever size, that
/// take a row together (`team`), as GPUs want.
pub(crate) fn lanes_of_rows(g: &mut Graph, kernel: &str, rows: u32) -> Lanes {
    let lanes = kernel::lanes(g.target());
    let mut legal = vec![];
    legal.extend(lanes.map(|_| Family::Subgroup));
    legal.extend(g.target().subgroups.then_some(Family::Tiled));
    legal.push(Family::Plain);
    match choose(g, kernel, &RowClass::class(rows).to_string(), &legal, None) {
        Family::Tiled => Lanes::Team,
        Family::Plain => Lanes::Plain,
        _ => lanes.into(),
    }
}

#[cfg(test)]
mod tests {
    use strix_engine::Choices;

    use super::*;

    fn cpu() -> Target {
        Target { subgroup: Some(8), is_cpu: true, family: Family::Subgroup, ..Target::default() }
    }

    /// A family, and a number of rows.
    impl Way for (Family, u32) {
        fn family(self) -> Family {
            self.0
        }

        fn values(self) -> Vec<(&'static str, Value)> {
            vec![("rows", Value::Number(self.1))]
        }
    }

    const WAYS: &[(Family, u32)] =
        &[(Family::Subgroup, 8), (Family::Subgroup, 16), (Family::Tiled, 64), (Family::Plain, 8)];

    fn stored(way: &[(&str, &str)]) -> Choices {
        let mut choices = Choices::default();
        let owned = way.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        choices.set("gemm", "made up", owned);
        choices
    }

    #[test]
    fn without_a_choice_the_first_way_of_the_class_is_taken() {
        let pick = |target: &Target| pick(target, "gemm", "made up", WAYS, None);
        assert_eq!(pick(&cpu()), 0);
        assert_eq!(pick(&Target { is_cpu: false, ..cpu() }), 2);
        assert_eq!(pick(&Target { subgroup: None, ..cpu() }), 3);
    }

    #[test]
    fn a_stored_choice_is_taken_where_it_is_legal() {
        let pick =
            |way: &[(&str, &str)]| pick(&cpu().with_choices(stored(way)), "gemm", "made up", WAYS, None);
        assert_eq!(pick(&[("rows", "64"), ("family", "tiled")]), 2);
        assert_eq!(pick(&[("rows", "32"), ("family", "tiled")]), 0, "no such value");
        assert_eq!(pick(&[("family", "tiled")]), 0, "not all of it");
        assert_eq!(pick(&[("rows", "64"), ("family", "tiled"), ("k", "2")]), 0, "more than there is");
    }

    #[test]
    fn what_is_best_in_a_class_yields_to_a_choice_and_to_a_forced_family() {
        let pick = |target: &Target| pick(target, "gemm", "made up", WAYS, Some(WAYS[1]));
        assert_eq!(pick(&cpu()), 1);
        assert_eq!(pick(&cpu().with_choices(stored(&[("family", "tiled"), ("rows", "64")]))), 2);
        assert_eq!(pick(&Target { family: Family::Plain, forced: true, ..cpu() }), 3);
    }

    #[test]
    fn a_forced_family_wins_and_falls_back_to_its_nearest() {
        let forced = |family| Target { family, forced: true, ..cpu() };
        let pick = |target: &Target, legal: &[_]| pick(target, "gemm", "made up", legal, None);
        assert_eq!(pick(&forced(Family::Tiled), WAYS), 2);
        assert_eq!(pick(&forced(Family::Plain), WAYS), 3);
        assert_eq!(pick(&forced(Family::Tiled), &WAYS[..2]), 0);
        let other = stored(&[("family", "tiled"), ("rows", "64")]);
        assert_eq!(pick(&forced(Family::Subgroup).with_choices(other), WAYS), 0);
        let same = stored(&[("family", "subgroup"), ("rows", "16")]);
        assert_eq!(pick(&forced(Family::Subgroup).with_choices(same), WAYS), 1, "a value of that family");
    }

    #[test]
    fn a_decision_is_noted_once_with_what_else_there_was() {
        let mut g = Graph::new(cpu());
        for _ in 0..2 {
            assert_eq!(choose(&mut g, "gemm", "made up", WAYS, None), WAYS[0]);
        }
        let [decision] = g.decisions() else { panic!("{:?}", g.decisions()) };
        assert_eq!((decision.taken, decision.legal.len()), (0, 4));
    }
}
