//! Which specialisation of a kernel is recorded: the one forced, the one found best on this device, or the one that
//! is best on devices of its class.
//!
//! A kernel lists the ways that are legal on the device, for a *situation*: a class of shapes, in words such as
//! `int8 rows=many`. The word `family` names the [`Family`] a way belongs to; the other words are the kernel's own.

use strix_engine::{Decision, Family, Graph, Target};

use crate::defaults::DEFAULTS;
use crate::kernel;

/// One way to specialise a kernel: variants, each with its value.
pub type Way = Vec<(&'static str, &'static str)>;

/// A situation's word for so many rows: what is best for one is not for hundreds.
pub fn rows_class(rows: u32) -> &'static str {
    match rows {
        1 => "rows=one",
        2 => "rows=two",
        3..=4 => "rows=four",
        5..=16 => "rows=few",
        _ => "rows=many",
    }
}

/// The value of `name` in a way.
///
/// # Panics
///
/// If the way has no such variant.
pub fn value(way: &Way, name: &str) -> &'static str {
    let found = way.iter().find(|(variant, _)| *variant == name);
    found.unwrap_or_else(|| panic!("no variant {name} in {way:?}")).1
}

/// The way in which `kernel` is recorded in `situation`, noted in the graph as a decision.
///
/// A family that was asked for wins, by its nearest where the kernel has no such; then the choice stored for this
/// device, if it is legal; then the default of the device's class; then the first legal way of the class's family.
///
/// # Panics
///
/// If no way is legal.
pub fn choose(g: &mut Graph, kernel: &str, situation: &str, legal: &[Way]) -> Way {
    assert!(!legal.is_empty(), "{kernel}: no way is legal in {situation}");
    let taken = pick(g.target(), kernel, situation, legal);
    let owned = |way: &Way| way.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    g.decided(Decision {
        kernel: kernel.into(),
        situation: situation.into(),
        legal: legal.iter().map(owned).collect(),
        taken,
    });
    legal[taken].clone()
}

/// Index of the way that [`choose`] takes.
fn pick(target: &Target, kernel: &str, situation: &str, legal: &[Way]) -> usize {
    let allowed = match target.forced {
        true => of_family(legal, target.family),
        false => (0..legal.len()).collect(),
    };
    if let Some(way) = target.choices.get(kernel, situation)
        && let Some(&stored) = allowed.iter().find(|&&i| is_same(&legal[i], way))
    {
        return stored;
    }
    let class = target.class();
    let shipped =
        DEFAULTS.iter().find(|d| d.class == class && d.kernel == kernel && d.situation == situation);
    if let Some(default) = shipped
        && let Some(&shipped) = allowed.iter().find(|&&i| is_same(&legal[i], default.way))
    {
        return shipped;
    }
    if target.forced { allowed[0] } else { of_family(legal, class)[0] }
}

/// Indices of the ways of a family, or of the nearest that there is. A way that names no family is of each.
fn of_family(legal: &[Way], family: Family) -> Vec<usize> {
    let nearest = match family {
        Family::Subgroup => [Family::Subgroup, Family::Tiled, Family::Plain],
        Family::Tiled => [Family::Tiled, Family::Subgroup, Family::Plain],
        Family::Plain => [Family::Plain, Family::Tiled, Family::Subgroup],
        Family::Coop => [Family::Coop, Family::Tiled, Family::Plain],
    };
    let is_of = |way: &Way, family: Family| {
        way.iter().find(|(name, _)| *name == "family").is_none_or(|(_, value)| *value == family.name())
    };
    let of = |family| (0..legal.len()).filter(|&i| is_of(&legal[i], family)).collect::<Vec<_>>();
    let found = nearest.into_iter().map(of).find(|found| !found.is_empty());
    found.unwrap_or_else(|| (0..legal.len()).collect())
}

/// Whether two ways name the same values, in any order.
fn is_same<N: AsRef<str>, V: AsRef<str>>(way: &Way, other: &[(N, V)]) -> bool {
    let has =
        |&(name, value): &(&str, &str)| other.iter().any(|(n, v)| n.as_ref() == name && v.as_ref() == value);
    way.len() == other.len() && way.iter().all(has)
}

/// Value of the variant `lanes` for a kernel over so many rows: a subgroup, none (`plain`), or many that take a row
/// together (`team`), as GPUs want.
pub(crate) fn lanes_of_rows(g: &mut Graph, kernel: &str, rows: u32) -> &'static str {
    let way = |family: Family| vec![("family", family.name())];
    let mut legal = vec![];
    if kernel::lanes(g.target()) != "plain" {
        legal.push(way(Family::Subgroup));
    }
    if g.target().subgroup.is_some() {
        legal.push(way(Family::Tiled));
    }
    legal.push(way(Family::Plain));
    match value(&choose(g, kernel, rows_class(rows), &legal), "family") {
        "tiled" => "team",
        "plain" => "plain",
        _ => kernel::lanes(g.target()),
    }
}

#[cfg(test)]
mod tests {
    use strix_engine::Choices;

    use super::*;

    fn cpu() -> Target {
        Target { subgroup: Some(8), is_cpu: true, family: Family::Subgroup, ..Target::default() }
    }

    fn ways() -> Vec<Way> {
        let way = |family: Family, rows| vec![("family", family.name()), ("rows", rows)];
        vec![
            way(Family::Subgroup, "8"),
            way(Family::Subgroup, "16"),
            way(Family::Tiled, "64"),
            way(Family::Plain, "8"),
        ]
    }

    fn stored(way: &[(&str, &str)]) -> Choices {
        let mut choices = Choices::default();
        let owned = way.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        choices.set("gemm", "made up", owned);
        choices
    }

    #[test]
    fn without_a_choice_the_first_way_of_the_class_is_taken() {
        let pick = |target: &Target| pick(target, "gemm", "made up", &ways());
        assert_eq!(pick(&cpu()), 0);
        assert_eq!(pick(&Target { is_cpu: false, ..cpu() }), 2);
        assert_eq!(pick(&Target { subgroup: None, ..cpu() }), 3);
    }

    #[test]
    fn a_stored_choice_is_taken_where_it_is_legal() {
        let pick = |way: &[(&str, &str)]| pick(&cpu().with_choices(stored(way)), "gemm", "made up", &ways());
        assert_eq!(pick(&[("rows", "64"), ("family", "tiled")]), 2);
        assert_eq!(pick(&[("rows", "32"), ("family", "tiled")]), 0, "no such value");
        assert_eq!(pick(&[("family", "tiled")]), 0, "not all of it");
        assert_eq!(pick(&[("rows", "64"), ("family", "tiled"), ("k", "2")]), 0, "more than there is");
    }

    #[test]
    fn a_forced_family_wins_and_falls_back_to_its_nearest() {
        let forced = |family| Target { family, forced: true, ..cpu() };
        let pick = |target: &Target, legal: &[Way]| pick(target, "gemm", "made up", legal);
        assert_eq!(pick(&forced(Family::Tiled), &ways()), 2);
        assert_eq!(pick(&forced(Family::Plain), &ways()), 3);
        assert_eq!(pick(&forced(Family::Tiled), &ways()[..2]), 0);
        let other = stored(&[("family", "tiled"), ("rows", "64")]);
        assert_eq!(pick(&forced(Family::Subgroup).with_choices(other), &ways()), 0);
        let same = stored(&[("family", "subgroup"), ("rows", "16")]);
        assert_eq!(pick(&forced(Family::Subgroup).with_choices(same), &ways()), 1, "a value of that family");
    }

    #[test]
    fn a_decision_is_noted_once_with_what_else_there_was() {
        let mut g = Graph::new(cpu());
        for _ in 0..2 {
            assert_eq!(value(&choose(&mut g, "gemm", "made up", &ways()), "rows"), "8");
        }
        let [decision] = g.decisions() else { panic!("{:?}", g.decisions()) };
        assert_eq!((decision.taken, decision.legal.len()), (0, 4));
    }
}
