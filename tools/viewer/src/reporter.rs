//! How the window hears of what other threads do.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};

use eframe::egui;

use crate::messages::Event;

/// Tells the window what happened, from any thread.
#[derive(Debug)]
pub(crate) struct Reporter {
    events: Sender<Event>,
    ctx: egui::Context,
}

impl Reporter {
    /// One whose events come out of what is returned with it. `ctx` is drawn anew for each.
    pub(crate) fn new(ctx: egui::Context) -> (Arc<Self>, Receiver<Event>) {
        let (events, out) = mpsc::channel();
        (Arc::new(Self { events, ctx }), out)
    }

    /// Tells of an event. Nobody listens once the window is closed.
    pub(crate) fn send(&self, event: Event) {
        _ = self.events.send(event);
        self.ctx.request_repaint();
    }
}
