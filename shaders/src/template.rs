//! Rendering the kernels' texts.
//!
//! A kernel is WGSL with three additions, all of them comments to a WGSL highlighter:
//!
//! - `#import name` joins `common/name.wgsl` on, after the kernel's own text;
//! - `//~ variants: lanes = 8 16 plain` names what it can be specialised by; `${lanes}` is the chosen value,
//!   and lines that begin with `//%` are MiniJinja statements, for unrolling;
//! - `//~ where: loads == "storage" or lanes in [8, 16]` leaves out the choices of which it is not true;
//! - `//~ requires: cooperative_matrix` names what only some devices have;
//! - `//~ trips: dim / 256 + 1` before every loop bounds its iterations in one invocation, all entries of an
//!   enclosing loop together, in terms of `Params` (see `bound.rs`; values of variants are put in as `${lanes}`). It should
//!   count one more for each entry: lavapipe counts the test that ends a loop (see `tests/tests/loop_cap.rs`).
//!
//! Templates unroll, and leave out what a choice does without. They do not make up names.

use std::collections::BTreeMap;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, UndefinedBehavior, Value};

/// Bounds of every loop of a rendered text.
pub(crate) fn trips(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| Some(line.trim_start().strip_prefix("//~ trips:")?.trim()))
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let syntax = SyntaxConfig::builder()
        .block_delimiters("{%", "%}")
        .variable_delimiters("${", "}")
        .comment_delimiters("{#", "#}")
        .line_statement_prefix("//%")
        .build();
    environment.set_syntax(syntax.expect("these delimiters differ"));
    environment
}

/// What an expression may name: variants, as numbers where they are some.
fn context(chosen: &[(&str, impl AsRef<str>)]) -> Value {
    let value = |text: &str| text.parse::<u64>().map_or_else(|_| Value::from(text), Value::from);
    let chosen = chosen.iter().map(|(name, text)| ((*name).to_owned(), value(text.as_ref())));
    Value::from(chosen.collect::<BTreeMap<_, _>>())
}

/// Whether every `//~ where` of a template holds for a choice.
pub(crate) fn is_legal(template: &str, chosen: &[(&str, impl AsRef<str>)]) -> Result<bool, String> {
    let environment = environment();
    let context = context(chosen);
    for condition in template.lines().filter_map(|line| line.strip_prefix("//~ where:")) {
        let result = environment.compile_expression(condition.trim()).and_then(|e| e.eval(context.clone()));
        if !result.map_err(|e| format!("where `{condition}`: {e}"))?.is_true() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The text of one specialisation.
pub(crate) fn render(template: &str, chosen: &[(&str, impl AsRef<str>)]) -> Result<String, String> {
    let template = template.replace("#import ", "// #import ");
    environment().render_str(&template, context(chosen)).map_err(|e| format!("{e:#}"))
}
