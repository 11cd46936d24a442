//! Reads the pickle of a torch checkpoint. Nothing of it is executed.
//!
//! A pickle is a program for a stack machine (Python's `pickletools` lists its instructions). Here it can only build
//! dicts, lists and tuples, and describe tensors: the globals it may name ([`super::globals`]) are kinds of values here,
//! not functions, and any other is refused by its name. Objects are kept in one list and hold numbers into it, so nesting costs no
//! stack, and each instruction makes at most one.

mod calls;

use std::collections::HashMap;

use super::FileDtype;
use super::cursor::Cursor;
use super::globals::{Global, global, refused};

/// Longest pickle read: enough for some 20,000 tensors. The published model has 850.
pub(super) const MAX_PICKLE_BYTES: usize = 4 << 20;

/// Most that the machine may hold: what a byte of a pickle costs in memory has no other bound, since a tuple may be
/// named again and again, and is copied each time. Lists double as they grow, so that the process takes up to
/// three times as much.
const MAX_HELD_BYTES: usize = 64 << 20;

/// The content of a pickle: a value and the objects it refers to.
#[derive(Debug)]
pub(super) struct Unpickled<'a> {
    pub top: Value<'a>,
    objects: Vec<Object<'a>>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    None,
    Bool(bool),
    Int(i128),
    Float,
    Bytes,
    Str(&'a str),
    Global(Global),
    /// A tensor that is not read: a sparse one, say.
    Unread(&'static str),
    /// An object that no model needs and that is no tensor: a set, a device.
    Opaque(&'static str),
    /// Its index in [`Unpickled`].
    Object(usize),
}

#[derive(Debug)]
pub(super) enum Object<'a> {
    Tuple(Vec<Value<'a>>),
    List(Vec<Value<'a>>),
    Dict(Vec<(Value<'a>, Value<'a>)>),
    Storage(Box<Storage<'a>>),
    Tensor(Box<Tensor<'a>>),
}

/// Elements in an entry of their own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Storage<'a> {
    pub dtype: FileDtype,
    pub key: &'a str,
    pub numel: i128,
}

/// A part of a storage, as the pickle describes it. Nothing of it is checked yet.
#[derive(Clone, Debug)]
pub(super) struct Tensor<'a> {
    pub storage: Storage<'a>,
    pub offset: i128,
    pub size: Vec<i128>,
    pub stride: Vec<i128>,
}

impl<'a> Unpickled<'a> {
    pub(super) fn object(&self, value: Value<'a>) -> Option<&Object<'a>> {
        object(&self.objects, value)
    }

    /// The type of a value, in Python's words.
    pub(super) fn kind(&self, value: Value<'a>) -> &'static str {
        kind(&self.objects, value)
    }
}

/// Runs a pickle of at most [`MAX_PICKLE_BYTES`].
pub(super) fn unpickle(pickle: &[u8]) -> Result<Unpickled<'_>, String> {
    let mut machine = Machine::default();
    let mut code = Cursor::new(pickle);
    loop {
        let at = pickle.len() - code.len();
        let error = |reason| format!("its pickle, byte {at}: {reason}");
        let op = code.u8().ok_or_else(|| error(CUT.into()))?;
        if op == b'.' {
            let top = machine.pop().map_err(error)?;
            return Ok(Unpickled { top, objects: machine.objects });
        }
        machine.step(op, &mut code).map_err(error)?;
        if machine.held_bytes() > MAX_HELD_BYTES {
            return Err(error(format!(
                "describes more than {MAX_HELD_BYTES} bytes of objects: is it a checkpoint?"
            )));
        }
    }
}

const SET: Value<'static> = Value::Opaque("set");

const CUT: &str = "it ends too early: download it again";

#[derive(Default)]
struct Machine<'a> {
    stack: Vec<Value<'a>>,
    /// Heights of the stack at each mark.
    marks: Vec<usize>,
    memo: HashMap<u32, Value<'a>>,
    objects: Vec<Object<'a>>,
    /// Bytes that the objects refer to.
    content_bytes: usize,
}

impl<'a> Machine<'a> {
    fn held_bytes(&self) -> usize {
        self.stack.len() * size_of::<Value<'_>>()
            + self.marks.len() * size_of::<usize>()
            + self.memo.len() * size_of::<(u32, Value<'_>)>()
            + self.objects.len() * size_of::<Object<'_>>()
            + self.content_bytes
    }

    fn step(&mut self, op: u8, code: &mut Cursor<'a>) -> Result<(), String> {
        match op {
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_mark()?),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            b'c' => {
                let (module, name) = names(code)?;
                self.stack.push(Value::Global(global(module, name)?));
            }
            0x93 => {
                let [module, name] = self.pop_n()?;
                let (Value::Str(module), Value::Str(name)) = (module, name) else {
                    return Err(format!("a global is named by a {}", self.kind(name)));
                };
                self.stack.push(Value::Global(global(module, name)?));
            }
            // A class by name and its arguments: of those allowed, none is made so.
            b'i' => {
                let (module, name) = names(code)?;
                return Err(refused(module, name));
            }
            b'Q' => self.persistent_id()?,
            b'R' | 0x81 => self.reduce()?,
            b'b' => self.build()?,
            b'q' | b'r' | 0x94 => {
                let index = match op {
                    b'q' => code.u8().map(u32::from),
                    b'r' => code.u32(),
                    _ => Some(self.memo.len() as u32),
                };
                let top = self.top()?;
                self.memo.insert(index.ok_or(CUT)?, top);
            }
            b'h' | b'j' => {
                let index = if op == b'h' { code.u8().map(u32::from) } else { code.u32() };
                let index = index.ok_or(CUT)?;
                let value = self.memo.get(&index).ok_or_else(|| format!("its memo has no {index}"))?;
                self.stack.push(*value);
            }
            b'a' | b'e' | b's' | b'u' => self.put_in(op)?,
            // Sets: what is in them is of no use here.
            0x8f => self.stack.push(SET),
            0x90 => {
                self.pop_mark()?;
                let into = self.top()?;
                if into != SET {
                    return Err(format!("it puts items into a {}", self.kind(into)));
                }
            }
            0x91 => {
                self.pop_mark()?;
                self.stack.push(SET);
            }
            b')' | 0x85 | 0x86 | 0x87 | b't' | b']' | b'l' | b'}' | b'd' => self.collect(op)?,
            // Protocol and frame: where to stop reading is known without.
            0x80 => {
                let protocol = code.u8().ok_or(CUT)?;
                if !(2..=5).contains(&protocol) {
                    return Err(format!("it is of protocol {protocol}; 2 to 5 are read"));
                }
            }
            0x95 => drop(code.u64().ok_or(CUT)?),
            _ => {
                let value = constant(op, code)?;
                self.stack.push(value);
            }
        }
        Ok(())
    }

    fn kind(&self, value: Value<'a>) -> &'static str {
        kind(&self.objects, value)
    }

    fn top(&self) -> Result<Value<'a>, String> {
        let floor = self.marks.last().copied().unwrap_or(0);
        self.stack.get(floor..).and_then(<[_]>::last).copied().ok_or_else(|| "its stack is empty".into())
    }

    fn pop(&mut self) -> Result<Value<'a>, String> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    /// The last `N` values, in the order they were pushed.
    fn pop_n<const N: usize>(&mut self) -> Result<[Value<'a>; N], String> {
        let mut values = [Value::None; N];
        for value in values.iter_mut().rev() {
            *value = self.pop()?;
        }
        Ok(values)
    }

    /// Values pushed since the last mark.
    fn pop_mark(&mut self) -> Result<Vec<Value<'a>>, String> {
        let mark = self.marks.pop().ok_or("its stack has no mark")?;
        Ok(self.stack.split_off(mark))
    }

    fn push_object(&mut self, object: Object<'a>) {
        self.content_bytes += match &object {
            Object::Tuple(values) | Object::List(values) => size_of_val(&values[..]),
            Object::Dict(items) => size_of_val(&items[..]),
            Object::Storage(storage) => size_of_val(&**storage),
            Object::Tensor(tensor) => {
                size_of_val(&**tensor) + size_of_val(&tensor.size[..]) + size_of_val(&tensor.stride[..])
            }
        };
        self.stack.push(Value::Object(self.objects.len()));
        self.objects.push(object);
    }

    fn collect(&mut self, op: u8) -> Result<(), String> {
        let object = match op {
            b')' => Object::Tuple(vec![]),
            0x85 => Object::Tuple(self.pop_n::<1>()?.to_vec()),
            0x86 => Object::Tuple(self.pop_n::<2>()?.to_vec()),
            0x87 => Object::Tuple(self.pop_n::<3>()?.to_vec()),
            b't' => Object::Tuple(self.pop_mark()?),
            b']' => Object::List(vec![]),
            b'l' => Object::List(self.pop_mark()?),
            b'}' => Object::Dict(vec![]),
            _ => Object::Dict(pairs(&self.pop_mark()?)?),
        };
        self.push_object(object);
        Ok(())
    }

    /// Appends to a list, or sets items of a dict.
    fn put_in(&mut self, op: u8) -> Result<(), String> {
        let values = match op {
            b'a' => vec![self.pop()?],
            b's' => self.pop_n::<2>()?.to_vec(),
            _ => self.pop_mark()?,
        };
        self.content_bytes += size_of_val(&values[..]);
        let into = self.top()?;
        let object = match into {
            Value::Object(index) => self.objects.get_mut(index),
            _ => None,
        };
        match (object, op) {
            (Some(Object::List(list)), b'a' | b'e') => list.extend(values),
            (Some(Object::Dict(dict)), b's' | b'u') => dict.extend(pairs(&values)?),
            _ => return Err(format!("it puts items into a {}", self.kind(into))),
        }
        Ok(())
    }

    /// Attributes, `_metadata` of a state dict among them: of no use here.
    fn build(&mut self) -> Result<(), String> {
        self.pop()?;
        let of = self.top()?;
        match object(&self.objects, of) {
            Some(Object::Dict(_) | Object::Tensor(_)) => Ok(()),
            _ if matches!(of, Value::Unread(_) | Value::Opaque(_)) => Ok(()),
            _ => Err(format!("it sets the state of a {}", self.kind(of))),
        }
    }
}

fn object<'m, 'a>(objects: &'m [Object<'a>], value: Value<'a>) -> Option<&'m Object<'a>> {
    if let Value::Object(index) = value { objects.get(index) } else { None }
}

fn kind(objects: &[Object<'_>], value: Value<'_>) -> &'static str {
    match value {
        Value::None => "None",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int",
        Value::Float => "float",
        Value::Bytes => "bytes",
        Value::Str(_) => "str",
        Value::Unread(kind) | Value::Opaque(kind) => kind,
        Value::Global(global) => match global {
            Global::Dict => "class of dicts",
            Global::Size => "torch.Size",
            Global::RebuildTensor | Global::RebuildTensorAs => "function that makes a tensor",
            Global::First | Global::FirstAs | Global::RebuildFromType => "function that takes a tensor",
            Global::Storage(_) | Global::OtherStorage(_) => "storage class",
            Global::Dtype(_) | Global::OtherDtype(_) => "dtype",
            Global::Encode => "_codecs.encode",
            Global::Unread(kind) | Global::Opaque(kind) => kind,
        },
        Value::Object(index) => match objects.get(index) {
            Some(Object::Tuple(_)) => "tuple",
            Some(Object::List(_)) => "list",
            Some(Object::Dict(_)) => "dict",
            Some(Object::Storage(_)) => "storage",
            Some(Object::Tensor(_)) => "tensor",
            None => "nothing",
        },
    }
}

fn pairs<'a>(values: &[Value<'a>]) -> Result<Vec<(Value<'a>, Value<'a>)>, String> {
    let (pairs, []) = values.as_chunks() else { return Err("a dict has a key without a value".into()) };
    Ok(pairs.iter().map(|&[key, value]| (key, value)).collect())
}

/// Module and name, a line each.
fn names<'a>(code: &mut Cursor<'a>) -> Result<(&'a str, &'a str), String> {
    let mut name = || text(code.line());
    Ok((name()?, name()?))
}

fn text(bytes: Option<&[u8]>) -> Result<&str, String> {
    std::str::from_utf8(bytes.ok_or(CUT)?).map_err(|_| "a name is not UTF-8".into())
}

/// A number or a text.
fn constant<'a>(op: u8, code: &mut Cursor<'a>) -> Result<Value<'a>, String> {
    let bytes = |code: &mut Cursor<'a>, len: Option<u64>| len.and_then(|len| code.take(len)).ok_or(CUT);
    let string = |bytes: &'a [u8]| text(Some(bytes)).map(Value::Str);
    Ok(match op {
        b'N' => Value::None,
        0x88 | 0x89 => Value::Bool(op == 0x88),
        b'K' => Value::Int(code.u8().ok_or(CUT)?.into()),
        b'M' => Value::Int(code.u16().ok_or(CUT)?.into()),
        b'J' => Value::Int((code.u32().ok_or(CUT)? as i32).into()),
        0x8a | 0x8b => {
            let len = if op == 0x8a { code.u8().map(u64::from) } else { code.u32().map(u64::from) };
            let bytes = bytes(code, len)?;
            // No size is so large; the state of a random generator may be.
            if bytes.len() > 16 {
                return Ok(Value::Opaque("large int"));
            }
            // Two's complement: the sign of the last byte goes on.
            let sign = bytes.last().map_or(0, |&last| if last < 0x80 { 0 } else { 0xff });
            let mut whole = [sign; 16];
            whole[..bytes.len()].copy_from_slice(bytes);
            Value::Int(i128::from_le_bytes(whole))
        }
        b'G' => {
            code.u64().ok_or(CUT)?;
            Value::Float
        }
        // Python 2 has strings of bytes, and its texts are these.
        0x8c | b'U' => {
            let len = code.u8().map(u64::from);
            string(bytes(code, len)?)?
        }
        b'X' | b'T' => {
            let len = code.u32().map(u64::from);
            string(bytes(code, len)?)?
        }
        0x8d => {
            let len = code.u64();
            string(bytes(code, len)?)?
        }
        b'C' | b'B' | 0x8e | 0x96 => {
            let len = match op {
                b'C' => code.u8().map(u64::from),
                b'B' => code.u32().map(u64::from),
                _ => code.u64(),
            };
            bytes(code, len)?;
            Value::Bytes
        }
        _ => {
            let shown = char::from(op).escape_default();
            return Err(format!(
                "instruction 0x{op:02x} ({shown}), which no state dict needs; save its state_dict() alone"
            ));
        }
    })
}
