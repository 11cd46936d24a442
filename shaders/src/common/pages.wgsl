// Where keys and values of a position are. The importing kernel declares `pages`, and its Params have `sequence_pages`;
// not so with a variant `mask` that is full, where keys lie in their order and are no sequence's.

//% if mask is defined and mask == "full"
fn slot_of(sequence: u32, position: u32) -> u32 {
    return position;
}
//% else
/// Sequence and position of a row that is not live.
const NOT_LIVE = 0xffffffffu;

/// Where in the cache a position of a sequence is: pages hold 16.
fn slot_of(sequence: u32, position: u32) -> u32 {
    return pages[sequence * params.sequence_pages + position / 16u] * 16u + position % 16u;
}
//% endif
