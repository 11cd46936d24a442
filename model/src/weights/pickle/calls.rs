//! Evaluates the calls of a pickle to the globals it may name.

use super::{Global, Machine, Object, Storage, Tensor, Value, object};

/// Most axes of a tensor. Models have 4.
const MAX_AXES: usize = 8;

const NO_STORAGE: &str = "a persistent id is not (\"storage\", class, key, device, numel)";

/// Metadata of torch's: `neg` and `conj`.
const TURNED: &str = "tensor whose elements are still to be negated or conjugated (resolve_neg() does that)";

impl<'a> Machine<'a> {
    /// `('storage', class, key, device, numel)`
    pub(super) fn persistent_id(&mut self) -> Result<(), String> {
        let id = self.pop()?;
        let Some(Object::Tuple(id)) = object(&self.objects, id) else { return Err(NO_STORAGE.into()) };
        let &[Value::Str("storage"), class, Value::Str(key), Value::Str(_), Value::Int(numel), ..] = &id[..]
        else {
            return Err(NO_STORAGE.into());
        };
        match class {
            Value::Global(Global::Storage(dtype)) => {
                self.push_object(Object::Storage(Box::new(Storage { dtype, key, numel })));
            }
            Value::Global(Global::OtherStorage(dtype)) => self.stack.push(Value::Unread(dtype)),
            _ => return Err(NO_STORAGE.into()),
        }
        Ok(())
    }

    /// A call, or a new object of a class: of the globals there are, what it would return.
    pub(super) fn reduce(&mut self) -> Result<(), String> {
        let [callable, arguments] = self.pop_n()?;
        self.call(callable, arguments)
    }

    fn call(&mut self, callable: Value<'a>, arguments: Value<'a>) -> Result<(), String> {
        let Some(Object::Tuple(tuple)) = object(&self.objects, arguments) else {
            return Err(format!("it calls with a {} for arguments", self.kind(arguments)));
        };
        // Further arguments do not matter.
        let mut all = [Value::None; 8];
        let count = tuple.len().min(all.len());
        all[..count].copy_from_slice(&tuple[..count]);
        let all = &all[..count];
        let Value::Global(global) = callable else { return Err(self.wrong_call(callable, all)) };
        match (global, all) {
            (Global::Dict, []) => self.push_object(Object::Dict(vec![])),
            // The counts of a Counter.
            (Global::Dict, &[dict]) if matches!(object(&self.objects, dict), Some(Object::Dict(_))) => {
                self.stack.push(dict);
            }
            (Global::Size, []) => self.stack.push(arguments),
            (Global::Size, &[size]) if matches!(object(&self.objects, size), Some(Object::Tuple(_))) => {
                self.stack.push(size);
            }
            (Global::Size, &[size]) if matches!(object(&self.objects, size), Some(Object::List(_))) => {
                self.stack.push(Value::Opaque("torch.Size"));
            }
            (Global::First, &[data, ..]) if self.is_tensor(data) => self.stack.push(data),
            (Global::FirstAs, &[data, dtype, ..]) if self.is_tensor(data) => {
                let as_it_is = match (object(&self.objects, data), dtype) {
                    (Some(Object::Tensor(tensor)), Value::Global(Global::Dtype(dtype))) => {
                        tensor.storage.dtype == dtype
                    }
                    _ => false,
                };
                self.stack.push(if as_it_is {
                    data
                } else {
                    Value::Unread("tensor of another dtype than its data")
                });
            }
            (Global::RebuildTensor, &[storage, Value::Int(offset), size, stride, ref rest @ ..]) => {
                self.tensor(storage, offset, [size, stride], None, rest.get(2).copied())?;
            }
            (
                Global::RebuildTensorAs,
                &[storage, Value::Int(offset), size, stride, _, _, dtype, ref rest @ ..],
            ) => {
                self.tensor(storage, offset, [size, stride], Some(dtype), rest.first().copied())?;
            }
            // No further call within: nothing here goes deeper than one step.
            (Global::RebuildFromType, &[inner @ Value::Global(function), _, arguments, ..])
                if function != Global::RebuildFromType =>
            {
                self.call(inner, arguments)?;
            }
            (Global::Encode, _) => self.stack.push(Value::Bytes),
            (Global::Unread(kind), _) => self.stack.push(Value::Unread(kind)),
            (Global::Opaque(kind), _) => self.stack.push(Value::Opaque(kind)),
            _ => return Err(self.wrong_call(callable, all)),
        }
        Ok(())
    }

    fn wrong_call(&self, callable: Value<'a>, arguments: &[Value<'a>]) -> String {
        let kinds: Vec<_> = arguments.iter().map(|&value| self.kind(value)).collect();
        format!("it calls a {} with ({})", self.kind(callable), kinds.join(", "))
    }

    fn is_tensor(&self, value: Value<'a>) -> bool {
        matches!(value, Value::Unread(_)) || matches!(object(&self.objects, value), Some(Object::Tensor(_)))
    }

    /// A part of a storage; `metadata` says whether its signs or imaginary parts are still to be turned.
    fn tensor(
        &mut self,
        storage: Value<'a>,
        offset: i128,
        [size, stride]: [Value<'a>; 2],
        dtype: Option<Value<'a>>,
        metadata: Option<Value<'a>>,
    ) -> Result<(), String> {
        let (size, stride) = (self.ints(size)?, self.ints(stride)?);
        let mut storage = match (object(&self.objects, storage), storage) {
            (Some(Object::Storage(storage)), _) => **storage,
            (_, Value::Unread(dtype)) => {
                self.stack.push(Value::Unread(dtype));
                return Ok(());
            }
            _ => return Err(format!("a tensor is made of a {}", self.kind(storage))),
        };
        let turned = match metadata.and_then(|metadata| object(&self.objects, metadata)) {
            Some(Object::Dict(items)) => items.iter().any(|(_, value)| *value == Value::Bool(true)),
            _ => false,
        };
        match dtype {
            // A storage of bytes, whose dtype makes elements of them.
            Some(Value::Global(Global::Dtype(dtype))) if !turned => {
                let bytes = storage.numel.saturating_mul(storage.dtype.bitsize() as i128 / 8);
                let element_bytes = (dtype.bitsize() as i128 / 8).max(1);
                storage = Storage { dtype, numel: bytes / element_bytes, ..storage };
            }
            None if !turned => {}
            Some(Value::Global(Global::OtherDtype(dtype))) => {
                self.stack.push(Value::Unread(dtype));
                return Ok(());
            }
            _ if turned => {
                self.stack.push(Value::Unread(TURNED));
                return Ok(());
            }
            Some(dtype) => return Err(format!("a tensor's dtype is a {}", self.kind(dtype))),
            None => {}
        }
        self.push_object(Object::Tensor(Box::new(Tensor { storage, offset, size, stride })));
        Ok(())
    }

    fn ints(&self, tuple: Value<'a>) -> Result<Vec<i128>, String> {
        let not_ints = || "a tensor's size or stride is not a tuple of integers".to_owned();
        let Some(Object::Tuple(values)) = object(&self.objects, tuple) else { return Err(not_ints()) };
        if values.len() > MAX_AXES {
            return Err(format!("a tensor of {} axes, above {MAX_AXES}", values.len()));
        }
        let int = |value: &Value<'a>| if let Value::Int(int) = value { Some(*int) } else { None };
        values.iter().map(int).collect::<Option<_>>().ok_or_else(not_ints)
    }
}
