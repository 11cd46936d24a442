//! What the window waits for, so that it is told of it when a panic breaks it off.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::messages::{Command, Event, LoadId};
use crate::problem::Problem;
use crate::reporter::Reporter;
use crate::settings::Choice;

/// Watches over what is done for the window.
#[derive(Debug)]
pub(crate) struct Watch {
    report: Arc<Reporter>,
    /// The model that is there or being loaded, if one was asked for.
    load: Option<(LoadId, Choice)>,
}

impl Watch {
    pub(crate) fn new(report: Arc<Reporter>) -> Self {
        Self { report, load: None }
    }

    /// Has a command done. A panic is a fault of Strix: it is told, the window stays, and the model is to be dropped.
    pub(crate) fn over(&mut self, command: Command, handle: impl FnOnce(Command)) -> ControlFlow<()> {
        let (mut answered, mut attended) = (None, None);
        match &command {
            Command::Load { id, choice, .. } => self.load = Some((*id, choice.clone())),
            Command::Ask { turn, .. } => answered = Some(*turn),
            Command::Attend { turn } => attended = Some(*turn),
            Command::Reset => {}
        }
        let Err(panic) = catch_unwind(AssertUnwindSafe(|| handle(command))) else {
            return ControlFlow::Continue(());
        };
        let text = strix_engine::panic_text(&*panic).unwrap_or("a panic");
        let advice = "Load the model again; if it comes back, please report it.";
        let problem = Problem::new(format!("This is a bug in Strix: {text}"), advice);
        if let Some(turn) = answered {
            self.report.send(Event::Failed { turn, problem: problem.clone() });
        }
        if let Some(turn) = attended {
            self.report.send(Event::Attended { turn, attention: Err(problem.clone()) });
        }
        if let Some((id, choice)) = self.load.clone() {
            self.report.send(Event::NotLoaded(id, choice, Some(problem)));
        }
        ControlFlow::Break(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conversation::{Gaze, Outcome};
    use crate::messages::Loaded;
    use crate::plan::Plan;
    use crate::state::{Phase, State, Wish};

    /// A window and its thread, where a model of a folder is loaded.
    struct Both {
        state: State,
        watch: Watch,
        events: std::sync::mpsc::Receiver<Event>,
    }

    impl Both {
        fn loaded() -> Self {
            let (report, events) = Reporter::new(eframe::egui::Context::default());
            let mut both = Self { state: State::idle(), watch: Watch::new(report.clone()), events };
            both.state.load(owl());
            both.grant(|command| {
                let Command::Load { id, choice, .. } = command else { panic!("{command:?}") };
                let took = std::time::Duration::ZERO;
                let loaded = Loaded { choice, plan: Plan::default(), notes: vec![], took };
                report.send(Event::Loaded(id, loaded.into()));
            });
            assert!(matches!(both.state.phase, Phase::Ready));
            both
        }

        /// Does what the window asks for.
        fn grant(&mut self, handle: impl Fn(Command)) {
            for wish in std::mem::take(&mut self.state.wishes) {
                if let Wish::Tell(command) = wish {
                    _ = self.watch.over(command, &handle);
                }
            }
            self.events.try_iter().for_each(|event| self.state.apply(event));
        }
    }

    fn owl() -> Choice {
        Choice::Folder("/models/owl".into())
    }

    fn bug(_: Command) {
        panic!("a hole")
    }

    #[test]
    fn a_panic_ends_the_answer_and_names_the_model_that_was_there() {
        let mut both = Both::loaded();
        both.state.draft.text = "what is it?".into();
        both.state.ask();
        both.grant(bug);
        let answer = &both.state.conversation.last().unwrap().answer;
        assert!(matches!(&answer.outcome, Outcome::Failed(problem) if problem.what.contains("a hole")));
        let Phase::Empty { choice, problem: Some(problem) } = &both.state.phase else {
            panic!("{:?}", both.state.phase);
        };
        assert!(*choice == owl() && problem.what.contains("a hole"));
        assert!(both.state.model.is_none());
    }

    #[test]
    fn a_panic_ends_a_look_into_an_answer() {
        let mut both = Both::loaded();
        both.state.draft.text = "what is it?".into();
        both.state.ask();
        let turn = both.state.conversation.last().unwrap().id;
        both.grant(|_| {});
        both.state.look(turn);
        both.grant(bug);
        assert!(matches!(both.state.conversation.last().unwrap().answer.gaze, Gaze::Failed(_)));
    }

    #[test]
    fn a_panic_of_an_earlier_load_leaves_the_present_one() {
        let mut both = Both::loaded();
        both.state.load(Choice::Nano);
        let earlier = std::mem::take(&mut both.state.wishes);
        both.state.load(owl());
        let present = std::mem::replace(&mut both.state.wishes, earlier);
        both.grant(bug);
        assert!(matches!(&both.state.phase, Phase::Loading { choice, .. } if *choice == owl()));
        both.state.wishes = present;
        both.grant(bug);
        assert!(matches!(&both.state.phase, Phase::Empty { choice, .. } if *choice == owl()));
    }
}
