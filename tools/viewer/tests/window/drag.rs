//! Drags a file from another window onto one, by the XDND protocol, version 5.

use std::path::Path;
use std::time::{Duration, Instant};

use x11rb::connection::Connection;
use x11rb::protocol::Event;
use x11rb::protocol::xproto::{
    Atom, AtomEnum, ClientMessageEvent, ConnectionExt, CreateWindowAux, EventMask, PropMode,
    SelectionNotifyEvent, Window, WindowClass,
};
use x11rb::rust_connection::RustConnection;
use x11rb::wrapper::ConnectionExt as _;

/// Longest time that the target may take to ask for the file.
const LONGEST: Duration = Duration::from_secs(20);

/// Drops a file in the middle of the window with this title. Returns once the target has taken it.
pub(crate) fn drop_file(display: &str, title: &str, at: [i32; 2], path: &Path) {
    let (x, screen) = RustConnection::connect(Some(display)).expect("the display takes connections");
    let root = x.setup().roots[screen].root;
    let target = window_named(&x, root, title).expect("the window is there");
    let source = x.generate_id().unwrap();
    let values = CreateWindowAux::new();
    x.create_window(0, source, root, 0, 0, 1, 1, 0, WindowClass::INPUT_ONLY, 0, &values).unwrap();

    let atom = |name: &str| x.intern_atom(false, name.as_bytes()).unwrap().reply().unwrap().atom;
    let (selection, list, copy) = (atom("XdndSelection"), atom("text/uri-list"), atom("XdndActionCopy"));
    x.set_selection_owner(source, selection, x11rb::CURRENT_TIME).unwrap();
    let send = |kind: &str, data: [u32; 5]| {
        let data = [source, data[1], data[2], data[3], data[4]];
        let message = ClientMessageEvent::new(32, target, atom(kind), data);
        x.send_event(false, target, EventMask::NO_EVENT, message).unwrap();
        x.flush().unwrap();
    };
    let [left, top] = at.map(|at| at as u32);
    send("XdndEnter", [0, 5 << 24, list, 0, 0]);
    send("XdndPosition", [0, 0, left << 16 | top, x11rb::CURRENT_TIME, copy]);

    let address = format!("file://{}\r\n", path.display());
    let (status, finished) = (atom("XdndStatus"), atom("XdndFinished"));
    let mut is_dropped = false;
    let start = Instant::now();
    while start.elapsed() < LONGEST {
        match x.poll_for_event().unwrap() {
            Some(Event::SelectionRequest(asked)) => {
                let (to, property) = (asked.requestor, asked.property);
                x.change_property8(PropMode::REPLACE, to, property, asked.target, address.as_bytes())
                    .unwrap();
                let answer = SelectionNotifyEvent {
                    response_type: x11rb::protocol::xproto::SELECTION_NOTIFY_EVENT,
                    sequence: 0,
                    time: asked.time,
                    requestor: to,
                    selection: asked.selection,
                    target: asked.target,
                    property,
                };
                x.send_event(false, to, EventMask::NO_EVENT, answer).unwrap();
                x.flush().unwrap();
            }
            Some(Event::ClientMessage(message)) if message.type_ == status && !is_dropped => {
                is_dropped = true;
                send("XdndDrop", [0, 0, x11rb::CURRENT_TIME, 0, 0]);
            }
            Some(Event::ClientMessage(message)) if message.type_ == finished => return,
            Some(_) => {}
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    }
    panic!("nobody took {} within {LONGEST:?}", path.display());
}

/// A window of this title below `root`.
fn window_named(x: &RustConnection, root: Window, title: &str) -> Option<Window> {
    let name: Atom = AtomEnum::WM_NAME.into();
    let children = x.query_tree(root).ok()?.reply().ok()?.children;
    children.into_iter().find_map(|child| {
        let property = x.get_property(false, child, name, AtomEnum::ANY, 0, 64).ok()?.reply().ok()?;
        if property.value == title.as_bytes() { Some(child) } else { window_named(x, child, title) }
    })
}
