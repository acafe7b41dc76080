//! What would a pickled state dict hold, were it loaded? A reader that executes nothing.
//!
//! Pickle is a program for a stack machine that may call any Python function. Here the stack is run, but only three calls are
//! understood, those that build a state dict (`OrderedDict`, `_rebuild_tensor_v2`, `_rebuild_parameter`). Every other call, class
//! or object becomes [`PickleValue::Opaque`] and is not read. The opcodes are those of protocols 2 to 5 that torch writes. Texts
//! stay in the file. Everything else that is kept (stack, memo, containers, tensors) is first charged to a [`Budget`], and nesting
//! is limited: a hostile file costs at most a few times its length.

use super::budget::Budget;
use std::collections::BTreeMap;
use std::mem::size_of;
use std::rc::Rc;

/// A tensor as a view of a storage, in elements.
#[derive(Clone, Debug)]
pub struct StorageView<'a> {
    pub storage: Storage<'a>,
    pub offset: u64,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
}

/// A storage by its key in the container.
#[derive(Clone, Copy, Debug)]
pub struct Storage<'a> {
    /// Class name, for example `FloatStorage`. The device it was on ("cuda:0") means nothing here.
    pub class: &'a str,
    pub key: &'a str,
    /// Elements.
    pub n: u64,
}

#[derive(Clone, Debug)]
pub enum PickleValue<'a> {
    None,
    Int(i64),
    Float(f64),
    Text(&'a str),
    Tuple(Rc<Vec<PickleValue<'a>>>, u32),
    /// Index into [`Unpickled::lists`]: lists and dicts are filled after they are made, and may be shared.
    List(usize),
    Dict(usize),
    Global(Global<'a>),
    Storage(Rc<Storage<'a>>),
    Tensor(Rc<StorageView<'a>>),
    Opaque,
}

/// A class or function, not looked up.
#[derive(Clone, Copy, Debug)]
pub enum Global<'a> {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    /// Any other, by the last part of its name.
    Named(&'a str),
}

/// What a pickle leaves behind.
#[derive(Debug, Default)]
pub struct Unpickled<'a> {
    pub lists: Vec<Vec<PickleValue<'a>>>,
    pub dicts: Vec<Vec<(PickleValue<'a>, PickleValue<'a>)>>,
    /// Bytes read, the stop opcode included.
    pub bytes: usize,
}

/// Tuples inside tuples; a state dict needs 3.
const NESTING_LIMIT: u32 = 32;
/// A growing vector holds up to twice its items, and the old ones too while it moves.
const GROWING: usize = 3;
/// What an entry of the memo takes in a tree whose nodes are half full.
const MEMO: usize = 3 * (size_of::<usize>() + size_of::<PickleValue>());
/// The counters of an [`Rc`].
const COUNTERS: usize = 2 * size_of::<usize>();

/// Runs one pickle from the start of `bytes`: its value and the containers it points into. What is kept is paid for out
/// of `budget`.
///
/// # Errors
/// A sentence about the first opcode that is not understood, damage, or more memory than the budget holds.
pub fn unpickle<'a>(bytes: &'a [u8], budget: &mut Budget) -> Result<(PickleValue<'a>, Unpickled<'a>), String> {
    let mut machine = Machine {
        bytes,
        at: 0,
        stack: Vec::new(),
        most: 0,
        marks: Vec::new(),
        memo: BTreeMap::new(),
        out: Unpickled::default(),
        budget,
    };
    loop {
        let (at, op) = (machine.at, machine.take(1)?[0]);
        if op == b'.' {
            let value = machine.pop()?;
            machine.out.bytes = machine.at;
            return Ok((value, machine.out));
        }
        machine.step(op).map_err(|e| format!("pickle byte {at}: {e}"))?;
    }
}

struct Machine<'a, 'b> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<PickleValue<'a>>,
    /// Values and marks that the stack was paid for.
    most: usize,
    marks: Vec<usize>,
    memo: BTreeMap<usize, PickleValue<'a>>,
    out: Unpickled<'a>,
    budget: &'b mut Budget,
}

impl<'a> Machine<'a, '_> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(n).filter(|&end| end <= self.bytes.len()).ok_or("the pickle is cut short")?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N], String> {
        Ok(self.take(N)?.try_into().expect("N bytes were taken"))
    }

    fn text(&mut self, n: usize) -> Result<&'a str, String> {
        std::str::from_utf8(self.take(n)?).map_err(|_| "a text is not UTF-8".into())
    }

    fn line(&mut self) -> Result<&'a str, String> {
        let n = self.bytes[self.at..].iter().position(|&b| b == b'\n').ok_or("the pickle is cut short")?;
        let line = self.text(n)?;
        self.at += 1;
        Ok(line)
    }

    fn push(&mut self, value: PickleValue<'a>) -> Result<(), String> {
        self.pay_for_stack()?;
        self.stack.push(value);
        Ok(())
    }

    /// Values and marks below the highest ones so far were paid for before.
    fn pay_for_stack(&mut self) -> Result<(), String> {
        if self.stack.len() + self.marks.len() == self.most {
            self.budget.spend(GROWING * size_of::<PickleValue>())?;
            self.most += 1;
        }
        Ok(())
    }

    /// Never takes what is below the last mark.
    fn pop(&mut self) -> Result<PickleValue<'a>, String> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() > floor {
            Ok(self.stack.pop().expect("longer than the floor"))
        } else {
            Err("the stack is empty".into())
        }
    }

    fn pop_to_mark(&mut self) -> Result<Vec<PickleValue<'a>>, String> {
        let mark = self.marks.pop().ok_or("there is no mark")?;
        Ok(self.stack.split_off(mark))
    }

    fn push_tuple(&mut self, items: Vec<PickleValue<'a>>) -> Result<(), String> {
        let depth =
            items.iter().map(|v| if let PickleValue::Tuple(_, depth) = v { *depth } else { 0 }).max().unwrap_or(0) + 1;
        if depth > NESTING_LIMIT {
            return Err("tuples are nested too deeply".into());
        }
        self.budget.spend(COUNTERS + size_of::<Vec<PickleValue>>() + items.capacity() * size_of::<PickleValue>())?;
        self.push(PickleValue::Tuple(Rc::new(items), depth))
    }

    fn push_tuple_of(&mut self, n: usize) -> Result<(), String> {
        let mut items = (0..n).map(|_| self.pop()).collect::<Result<Vec<_>, _>>()?;
        items.reverse();
        self.push_tuple(items)
    }

    fn new_dict(&mut self) -> Result<PickleValue<'a>, String> {
        self.budget.spend(GROWING * size_of::<Vec<(PickleValue, PickleValue)>>())?;
        self.out.dicts.push(Vec::new());
        Ok(PickleValue::Dict(self.out.dicts.len() - 1))
    }

    fn set_items(&mut self, items: Vec<PickleValue<'a>>) -> Result<(), String> {
        if let Some(&PickleValue::Dict(dict)) = self.stack.last() {
            self.budget.spend(GROWING * items.len() * size_of::<PickleValue>())?;
            let mut items = items.into_iter();
            while let (Some(key), Some(value)) = (items.next(), items.next()) {
                self.out.dicts[dict].push((key, value));
            }
        }
        Ok(())
    }

    fn append(&mut self, items: Vec<PickleValue<'a>>) -> Result<(), String> {
        if let Some(&PickleValue::List(list)) = self.stack.last() {
            self.budget.spend(GROWING * items.len() * size_of::<PickleValue>())?;
            self.out.lists[list].extend(items);
        }
        Ok(())
    }

    fn remember(&mut self, index: usize) -> Result<(), String> {
        let value = self.stack.last().cloned().ok_or("the stack is empty")?;
        if !self.memo.contains_key(&index) {
            self.budget.spend(MEMO)?;
        }
        self.memo.insert(index, value);
        Ok(())
    }

    fn recall(&mut self, index: usize) -> Result<(), String> {
        let value = self.memo.get(&index).cloned().ok_or("nothing was remembered under that number")?;
        self.push(value)
    }

    fn step(&mut self, op: u8) -> Result<(), String> {
        match op {
            0x80 => drop(self.take(1)?),
            0x95 => drop(self.take(8)?),
            b'N' => self.push(PickleValue::None)?,
            0x88 | 0x89 => self.push(PickleValue::Int(i64::from(op == 0x88)))?,
            b'K' => {
                let n = self.number::<1>()?;
                self.push(PickleValue::Int(n[0].into()))?;
            }
            b'M' => {
                let n = u16::from_le_bytes(self.number()?);
                self.push(PickleValue::Int(n.into()))?;
            }
            b'J' => {
                let n = i32::from_le_bytes(self.number()?);
                self.push(PickleValue::Int(n.into()))?;
            }
            0x8a => {
                let n = self.number::<1>()?[0];
                let bytes = self.take(n.into())?;
                // Longer than 8 bytes is no size; torch writes one such number, its magic.
                let sign = if bytes.last().is_some_and(|b| b & 0x80 != 0) { 0xff } else { 0 };
                let wide: [u8; 8] = std::array::from_fn(|i| bytes.get(i).copied().unwrap_or(sign));
                let value =
                    if bytes.len() <= 8 { PickleValue::Int(i64::from_le_bytes(wide)) } else { PickleValue::Opaque };
                self.push(value)?;
            }
            b'G' => {
                let x = f64::from_be_bytes(self.number()?);
                self.push(PickleValue::Float(x))?;
            }
            b'X' | 0x8c | 0x8d => {
                let n = match op {
                    b'X' => u32::from_le_bytes(self.number()?) as usize,
                    0x8c => self.number::<1>()?[0].into(),
                    _ => usize::try_from(u64::from_le_bytes(self.number()?)).map_err(|_| "a text is too long")?,
                };
                let text = self.text(n)?;
                self.push(PickleValue::Text(text))?;
            }
            b'T' | b'U' | b'B' | b'C' => {
                let n = if matches!(op, b'T' | b'B') {
                    u32::from_le_bytes(self.number()?) as usize
                } else {
                    self.number::<1>()?[0].into()
                };
                self.take(n)?;
                self.push(PickleValue::Opaque)?;
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push(PickleValue::Global(global(module, name)))?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (PickleValue::Text(module), PickleValue::Text(name)) = (module, name) else {
                    return Err("a class has no name".into());
                };
                self.push(PickleValue::Global(global(module, name)))?;
            }
            b'(' => {
                self.pay_for_stack()?;
                self.marks.push(self.stack.len());
            }
            b')' => self.push_tuple(Vec::new())?,
            0x85..=0x87 => self.push_tuple_of(usize::from(op - 0x84))?,
            b't' => {
                let items = self.pop_to_mark()?;
                self.push_tuple(items)?;
            }
            b'}' => {
                let dict = self.new_dict()?;
                self.push(dict)?;
            }
            b']' => {
                self.budget.spend(GROWING * size_of::<Vec<PickleValue>>())?;
                self.out.lists.push(Vec::new());
                self.push(PickleValue::List(self.out.lists.len() - 1))?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set_items(vec![key, value])?;
            }
            b'u' => {
                let items = self.pop_to_mark()?;
                self.set_items(items)?;
            }
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            b'e' => {
                let items = self.pop_to_mark()?;
                self.append(items)?;
            }
            b'q' => {
                let index = self.number::<1>()?[0];
                self.remember(index.into())?;
            }
            b'r' => {
                let index = u32::from_le_bytes(self.number()?);
                self.remember(index as usize)?;
            }
            0x94 => self.remember(self.memo.len())?,
            b'h' => {
                let index = self.number::<1>()?[0];
                self.recall(index.into())?;
            }
            b'j' => {
                let index = u32::from_le_bytes(self.number()?);
                self.recall(index as usize)?;
            }
            b'Q' => {
                let id = self.pop()?;
                let found = storage(&id);
                self.budget.spend(COUNTERS + size_of::<Storage>())?;
                self.push(found.map_or(PickleValue::Opaque, |s| PickleValue::Storage(Rc::new(s))))?;
            }
            b'R' | 0x81 => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                let made = self.reduce(&callable, &arguments)?;
                self.push(made)?;
            }
            // The state of an object: attributes of a dict (`_metadata`) or of something unread. Neither is looked at.
            b'b' => drop(self.pop()?),
            other => return Err(format!("opcode {other:#04x} is none that torch writes for a state dict")),
        }
        Ok(())
    }

    /// A call that was understood, or [`PickleValue::Opaque`].
    fn reduce(&mut self, callable: &PickleValue<'a>, arguments: &PickleValue<'a>) -> Result<PickleValue<'a>, String> {
        let (PickleValue::Global(global), PickleValue::Tuple(arguments, _)) = (callable, arguments) else {
            return Ok(PickleValue::Opaque);
        };
        match (global, arguments.as_slice()) {
            (Global::OrderedDict, []) => self.new_dict(),
            (Global::RebuildParameter, [tensor @ PickleValue::Tensor(_), ..]) => Ok(tensor.clone()),
            (Global::RebuildTensor, [PickleValue::Storage(storage), PickleValue::Int(offset), shape, strides, ..]) => {
                let sides =
                    |value: &PickleValue| if let PickleValue::Tuple(items, _) = value { items.len() } else { 0 };
                let of_sides = (sides(shape) + sides(strides)) * size_of::<usize>();
                self.budget.spend(COUNTERS + size_of::<StorageView>() + of_sides)?;
                Ok(match (u64::try_from(*offset), sizes(shape), sizes(strides)) {
                    (Ok(offset), Some(shape), Some(strides)) if shape.len() == strides.len() => {
                        PickleValue::Tensor(Rc::new(StorageView { storage: **storage, offset, shape, strides }))
                    }
                    _ => PickleValue::Opaque,
                })
            }
            _ => Ok(PickleValue::Opaque),
        }
    }
}

fn global<'a>(module: &str, name: &'a str) -> Global<'a> {
    match (module, name) {
        ("collections", "OrderedDict") => Global::OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2") => Global::RebuildTensor,
        ("torch._utils", "_rebuild_parameter") => Global::RebuildParameter,
        _ => Global::Named(name.rsplit('.').next().unwrap_or(name)),
    }
}

/// The persistent id that torch writes: `('storage', class, key, device, n[, view])`.
fn storage<'a>(id: &PickleValue<'a>) -> Option<Storage<'a>> {
    let PickleValue::Tuple(id, _) = id else { return None };
    match id.as_slice() {
        [
            PickleValue::Text("storage"),
            PickleValue::Global(Global::Named(class)),
            PickleValue::Text(key),
            _,
            PickleValue::Int(n),
            ..,
        ] => Some(Storage { class, key, n: u64::try_from(*n).ok()? }),
        _ => None,
    }
}

fn sizes(value: &PickleValue) -> Option<Vec<usize>> {
    let PickleValue::Tuple(items, _) = value else { return None };
    items.iter().map(|v| if let PickleValue::Int(n) = v { usize::try_from(*n).ok() } else { None }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(bytes: &[u8]) -> Result<(PickleValue<'_>, Unpickled<'_>), String> {
        unpickle(bytes, &mut Budget::of_file(bytes.len() as u64))
    }

    #[test]
    fn a_call_is_carried_along_and_never_made() {
        // posix.system("echo") inside a dict under "x".
        let bytes = b"\x80\x02}X\x01\x00\x00\x00xcposix\nsystem\nX\x04\x00\x00\x00echo\x85Rs.";
        let (value, out) = run(bytes).unwrap();
        let PickleValue::Dict(dict) = value else { panic!("{value:?}") };
        assert!(matches!(out.dicts[dict].as_slice(), [(PickleValue::Text(_), PickleValue::Opaque)]));
        assert_eq!(out.bytes, bytes.len());
    }

    #[test]
    fn damage_is_told_not_panicked_on() {
        let deep = [b")".as_slice(), &[0x85; 100_000], b"."].concat();
        for (bytes, told) in [
            (b"".as_slice(), "cut short"),
            (b"X\xff\xff\xff\xffab.", "cut short"),
            (b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffab.", "cut short"),
            (b".", "empty"),
            (b"(u.", "empty"),
            (b"u.", "no mark"),
            (b"N(.", "empty"),
            (b"h\x07.", "remembered"),
            (b"i.", "opcode 0x69"),
            (&deep, "nested"),
        ] {
            let e = run(bytes).map(|(value, _)| value).unwrap_err();
            assert!(e.contains(told), "{e}");
        }
        for n in 0..=255u8 {
            for tail in 0..40u8 {
                let _ = run(&[b'(', b'}', b'K', n, n, tail, n.wrapping_mul(7), tail, b'.']);
            }
        }
    }
}
