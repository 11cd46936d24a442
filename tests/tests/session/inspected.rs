//! Sessions that are looked into.

use super::*;

#[test]
fn the_end_of_a_prompt_is_traced_in_chunks_as_in_the_whole() {
    let model = nano::load(gpu(), 200, 16);
    let sample = nano::sample("caption");
    let mut session = model.session().unwrap();
    sample.add_pictures(&mut session);
    let whole: BTreeMap<_, _> = session.inspect().trace(&sample.prompt_ids).unwrap().into_iter().collect();
    // With a cache of its own: the other's holds all positions.
    let mut session = model.session().unwrap();
    sample.add_pictures(&mut session);
    let traces = session.inspect().trace_end(&sample.prompt_ids).unwrap();
    let [chunk, step] = traces.map(|trace| trace.into_iter().collect::<BTreeMap<_, _>>());
    let config = &model.config().text;
    let rows = sample.prompt_ids.len() + model.config().num_image_tokens() - 1;
    let last = (rows - 1) / 16 * 16;
    assert!(last > 0 && rows - last > 1, "{rows} rows");
    let qkv = config.hidden_size + 2 * config.kv_dim();
    for (label, width) in [("decoder.0.qkv_proj", qkv), ("decoder.1.down_proj", config.hidden_size)] {
        let want = &whole[label][..rows * width];
        let live = (rows - last) * width;
        assert_close(label, &chunk[label][..live], &want[want.len() - live..], 1e-5);
        assert_close(label, &step[label], &want[want.len() - width..], 1e-5);
    }
    let want = &whole["lm_head"][(rows - 1) * config.vocab_size..rows * config.vocab_size];
    assert_close("chunk", &chunk["lm_head"], want, 1e-5);
    assert_close("step", &step["lm_head"], want, 1e-5);
    let said = complete(&mut session, &sample, &greedy());
    assert_eq!(said.ids, sample.output_ids, "the session is usable after it");
}

#[test]
fn a_filled_context_is_stepped_over_and_cut_again() {
    let model = Model::nano(&LoadOptions { ctx: Some(64), ..LoadOptions::default() }).unwrap();
    let mut session = model.session().unwrap();
    session.inspect().fill(40).unwrap();
    let next = session.inspect().step(7).unwrap();
    assert!((next as usize) < model.config().text.vocab_size);
    // The same positions, the same noise, the same token.
    session.inspect().fill(40).unwrap();
    assert_eq!(session.inspect().step(7).unwrap(), next);
    session.inspect().fill(64).unwrap();
    let full = session.inspect().step(7).unwrap_err().to_string();
    assert!(full.contains("the context of 64 positions is full"), "{full}");
    let long = session.inspect().fill(65).unwrap_err().to_string();
    assert!(long.contains("64 positions is full, and 65"), "{long}");
    session.inspect().fill(0).unwrap();
    assert!(session.inspect().step(1 << 30).unwrap_err().to_string().contains("not in the vocabulary"));
    // A prompt after that is as one without it.
    let fresh = model.session().unwrap().inspect().greedy(&prompt_ids([5, 6, 7]), 1).unwrap();
    assert_eq!(session.inspect().greedy(&prompt_ids([5, 6, 7]), 1).unwrap(), fresh);
}

#[test]
fn steps_go_on_to_the_end_of_the_context_from_nothing() {
    let model = Model::nano(&LoadOptions { ctx: Some(150), ..LoadOptions::default() }).unwrap();
    let mut session = model.session().unwrap();
    for _ in 0..150 {
        session.inspect().step(7).unwrap();
    }
    assert!(
        session.inspect().step(7).unwrap_err().to_string().contains("the context of 150 positions is full")
    );
}
