use std::collections::HashSet;
use std::iter::empty;

use super::*;

fn text(ids: impl IntoIterator<Item = u32>) -> Vec<Row> {
    ids.into_iter().map(Row::Token).collect()
}

/// Runs all rows of a sequence and `more` tokens behind them.
fn run(pages: &mut Pages, sequence: &mut Sequence, rows: &[Row], more: &[Row]) {
    let rows = [&rows[sequence.len()..], more].concat();
    pages.grow(sequence, sequence.len() + rows.len());
    pages.extend(sequence, &rows);
}

/// Nothing is lost or had twice.
fn check(pages: &Pages, sequences: &[&Sequence]) {
    let mut seen = HashSet::new();
    let known = (0..pages.total() as u32).filter(|&page| pages.known[page as usize].rows > 0);
    let own = sequences.iter().flat_map(|s| s.pages[s.known..].iter().copied());
    let all = pages.free.iter().copied().chain(known).chain(own);
    assert!(all.clone().all(|page| seen.insert(page)), "a page is had twice");
    assert_eq!(seen.len(), pages.total());
    for (page, known) in pages.known.iter().enumerate().filter(|(_, known)| known.rows > 0) {
        let holders = sequences.iter().filter(|s| s.pages[..s.known].contains(&(page as u32))).count();
        assert_eq!(known.holders as usize, holders, "holders of {page}");
        assert_eq!(pages.idle.contains(&(known.let_go, page as u32)), holders == 0, "page {page}");
    }
    assert_eq!(pages.promised, sequences.iter().map(|s| s.promised).sum::<usize>());
    assert!(pages.promised <= pages.free.len() + pages.idle.len(), "promises hold");
}

#[test]
fn a_second_turn_goes_on_where_the_first_ended() {
    let mut pages = Pages::new(8);
    let first = text(0..20);
    let mut sequence = pages.start(&first, 40, &[], empty()).unwrap();
    assert_eq!((sequence.len(), sequence.promised), (0, 3));
    run(&mut pages, &mut sequence, &first, &text(100..105));
    check(&pages, &[&sequence]);
    pages.finish(sequence);
    check(&pages, &[]);
    assert_eq!(pages.left(), 8);
    // The reply, then a question.
    let second = [first, text(100..105), text(200..230)].concat();
    let sequence = pages.start(&second, 60, &[], empty()).unwrap();
    assert_eq!(sequence.len(), 25);
    assert_eq!(sequence.rows(), &second[..25]);
    check(&pages, &[&sequence]);
}

#[test]
fn the_same_beginning_is_held_once_and_what_differs_is_not_shared() {
    let mut pages = Pages::new(8);
    let [a, b] = [[text(0..32), text(50..60)].concat(), [text(0..32), text(70..80)].concat()];
    let mut first = pages.start(&a, 48, &[], empty()).unwrap();
    run(&mut pages, &mut first, &a, &[]);
    let mut second = pages.start(&b, 48, &[], empty()).unwrap();
    assert_eq!((second.len(), second.promised), (32, 1), "both full pages are shared, the third is held");
    run(&mut pages, &mut second, &b, &[]);
    assert_eq!(first.pages()[..2], second.pages()[..2]);
    assert_ne!(first.pages()[2], second.pages()[2]);
    check(&pages, &[&first, &second]);
    pages.finish(first);
    check(&pages, &[&second]);
    // Of 42 rows the last is left to run.
    let again = pages.start(&a, 48, &[], empty()).unwrap();
    assert_eq!(again.len(), 41);
    check(&pages, &[&second, &again]);
}

#[test]
fn a_picture_is_another_where_its_number_is() {
    let rows = |picture| (0..20).map(|row| Row::Image { picture, row }).collect::<Vec<_>>();
    let mut pages = Pages::new(8);
    let mut first = pages.start(&rows(1), 32, &[], empty()).unwrap();
    run(&mut pages, &mut first, &rows(1), &[]);
    assert_eq!(pages.start(&rows(2), 32, &[], empty()).unwrap().len(), 0);
    pages.finish(first);
    assert_eq!(pages.start(&rows(1), 32, &[], empty()).unwrap().len(), 19);
}

#[test]
fn two_that_compute_the_same_at_once_keep_one_of_it() {
    let mut pages = Pages::new(8);
    let rows = text(0..40);
    let mut both = [0, 1].map(|_| pages.start(&rows, 48, &[], empty()).unwrap());
    for sequence in &mut both {
        run(&mut pages, sequence, &rows, &[]);
    }
    let [a, b] = both;
    assert_eq!(a.pages()[..2], b.pages()[..2], "whole pages are kept once");
    assert_ne!(a.pages()[2], b.pages()[2]);
    check(&pages, &[&a, &b]);
    pages.finish(a);
    check(&pages, &[&b]);
    pages.finish(b);
    check(&pages, &[]);
    assert_eq!(pages.free.len(), 5);
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let mut pages = Pages::new(4);
    let rows = text(0..20);
    let mut first = pages.start(&rows, 40, &[], empty()).unwrap();
    run(&mut pages, &mut first, &rows, &[]);
    // It holds a page of the first, and needs one more than is left.
    let refused = pages.start(&rows, 48, &[], empty()).unwrap_err();
    assert_eq!(refused, Full { needed: 2, left: 1, total: 4 });
    check(&pages, &[&first]);
    let second = pages.start(&rows, 32, &[], empty()).unwrap();
    check(&pages, &[&first, &second]);
    assert_eq!(pages.left(), 0);
    assert_eq!(pages.start_apart(1).unwrap_err(), Full { needed: 1, left: 0, total: 4 });
}

#[test]
fn what_was_let_go_longest_ago_makes_room_from_its_end() {
    let mut pages = Pages::new(6);
    let [a, b] = [text(0..48), text(100..148)];
    for rows in [&a, &b] {
        let mut sequence = pages.start(rows, 48, &[], empty()).unwrap();
        run(&mut pages, &mut sequence, rows, &[]);
        pages.finish(sequence);
    }
    assert_eq!((pages.free.len(), pages.left()), (0, 6));
    let mut other = pages.start_apart(32).unwrap();
    pages.grow(&mut other, 32);
    check(&pages, &[&other]);
    // Two pages of the older one are gone, its first is still known.
    let [a, b] = [&a, &b].map(|rows| pages.start(rows, 16, &[], empty()).unwrap());
    assert_eq!((a.len(), b.len()), (16, 47));
    check(&pages, &[&other, &a, &b]);
}

#[test]
fn a_page_of_its_own_is_written_over_and_of_others_only_the_last() {
    let mut pages = Pages::new(12);
    let rows = text(0..40);
    let mut sequence = pages.start(&rows, 60, &[], empty()).unwrap();
    run(&mut pages, &mut sequence, &rows, &text(900..915));
    let own = pages.finish(sequence);
    // The same question again: its last page goes on with an answer, and another page is behind it. Another's is copied.
    let mut other = pages.start(&rows, 60, &[], empty()).unwrap();
    assert_eq!((other.len(), other.pages().len()), (39, 3));
    let copied = other.copied().unwrap();
    assert_eq!((copied[1], other.copied()), (other.pages()[2], None));
    assert_eq!(pages.rows_of(copied[0])[..8], rows[32..]);
    check(&pages, &[&other]);
    let mut again = pages.start(&rows, 60, &own, empty()).unwrap();
    assert_eq!((again.len(), again.copied(), again.pages()[2]), (39, None, copied[0]));
    check(&pages, &[&other, &again]);
}

#[test]
fn what_is_apart_is_not_known() {
    let mut pages = Pages::new(4);
    let rows = text(0..40);
    let mut sequence = pages.start_apart(40).unwrap();
    run(&mut pages, &mut sequence, &rows, &[]);
    check(&pages, &[&sequence]);
    pages.finish(sequence);
    assert_eq!((pages.free.len(), pages.start(&rows, 40, &[], empty()).unwrap().len()), (4, 0));
}

/// Any schedule of starts, runs and ends, in a pool that is too small for all.
#[test]
fn no_page_is_lost_in_any_schedule() {
    for seed in 0..200_u64 {
        let mut state = seed * 2 + 1;
        let mut random = |n: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % n
        };
        let mut pages = Pages::new(20);
        let mut running: Vec<(Sequence, Vec<Row>, usize)> = vec![];
        let mut left: Vec<Stamp> = vec![];
        for _ in 0..200 {
            match random(3) {
                0 => {
                    // Few beginnings, so that many are shared.
                    let same = random(5) * 9;
                    let rows = text(
                        (0..same as u32).chain((0..1 + random(30) as u32).map(|i| i * 7 + random(2) as u32)),
                    );
                    let most = rows.len() + random(40) as usize;
                    match pages.start(&rows, most, &left, empty()) {
                        Ok(mut sequence) => {
                            if let Some([from, to]) = sequence.copied() {
                                let at = sequence.len() / POSITIONS * POSITIONS;
                                assert!(
                                    from != to && pages.rows_of(from).starts_with(&sequence.rows()[at..])
                                );
                            }
                            assert!(
                                sequence.len() < rows.len() && sequence.rows() == &rows[..sequence.len()]
                            );
                            running.push((sequence, rows, most));
                        }
                        Err(full) => assert!(full.needed > full.left || full.left == 0, "{full:?}"),
                    }
                }
                1 if !running.is_empty() => {
                    let at = random(running.len() as u64) as usize;
                    let (sequence, rows, most) = &mut running[at];
                    if sequence.len() < rows.len() {
                        run(&mut pages, sequence, rows, &[]);
                    } else if sequence.len() < *most {
                        let token = [Row::Token(random(3) as u32)];
                        pages.grow(sequence, sequence.len() + 1);
                        pages.extend(sequence, &token);
                    }
                }
                2 if !running.is_empty() => {
                    let (sequence, ..) = running.swap_remove(random(running.len() as u64) as usize);
                    left = pages.finish(sequence);
                }
                _ => {}
            }
            check(&pages, &running.iter().map(|(sequence, ..)| sequence).collect::<Vec<_>>());
        }
        running.into_iter().for_each(|(sequence, ..)| drop(pages.finish(sequence)));
        check(&pages, &[]);
        pages.clear();
        assert_eq!((pages.free.len(), pages.left()), (20, 20));
    }
}

#[test]
fn a_page_that_is_found_to_be_known_takes_none_of_what_is_promised() {
    let mut pages = Pages::new(4);
    let rows = text(0..17);
    let [mut first, mut second] = [0, 1].map(|_| pages.start(&rows, 32, &[], empty()).unwrap());
    run(&mut pages, &mut first, &rows, &[]);
    pages.grow(&mut second, 17);
    pages.finish(first);
    // What nobody holds is promised to another before the second sequence finds the same there.
    let mut other = pages.start(&text(100..120), 32, &[], empty()).unwrap();
    run(&mut pages, &mut second, &rows, &[]);
    check(&pages, &[&second, &other]);
    run(&mut pages, &mut other, &text(100..120), &[]);
    check(&pages, &[&second, &other]);
}

#[test]
fn what_is_being_run_is_gone_on_with_from_the_middle_of_its_page() {
    let mut pages = Pages::new(8);
    let rows: Vec<_> = (0..24).map(Row::Token).collect();
    let mut first = pages.start(&rows, 40, &[], empty()).unwrap();
    pages.grow(&mut first, 22);
    pages.extend(&mut first, &rows[..22]);
    // The same prompt, of which all is there but what is not run yet, and the last row.
    let mut second = pages.start(&rows, 40, &[], std::iter::once(&first)).unwrap();
    assert_eq!((second.len(), second.pages()[0]), (22, first.pages()[0]));
    assert_eq!(second.copied(), Some([first.pages()[1], second.pages()[1]]));
    assert_ne!(first.pages()[1], second.pages()[1]);
    // One that differs on the last page, and one that differs before it.
    let other = [&rows[..19], &[Row::Token(900); 9]].concat();
    let third = pages.start(&other, 28, &[], [&first, &second].into_iter()).unwrap();
    assert_eq!(third.len(), 19);
    let early = [&rows[..7], &[Row::Token(900); 9]].concat();
    let fourth = pages.start(&early, 16, &[], [&first, &second].into_iter()).unwrap();
    assert_eq!(fourth.len(), 7, "the first page is known, and begins like it");
    for sequence in [first, second, third, fourth] {
        pages.finish(sequence);
    }
    assert_eq!(pages.left(), 8);
}
