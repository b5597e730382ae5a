//! Avro object container files (<https://avro.apache.org/docs/1.12.0/specification/#object-container-files>): what is not
//! asked for is stepped over, without making values of it.
//!
//! `None` everywhere means: not understood, or damaged. Somebody else has to read it, and say what is wrong with it.

use std::{
    borrow::Cow,
    collections::HashMap,
    io::{Read, copy, sink},
};

use apache_avro::{Codec, ZstandardSettings};
use flate2::read::DeflateDecoder;
use serde_json::Value;

const MAGIC: &[u8] = b"Obj\x01";
const SYNC_BYTES: usize = 16;

/// A block that unpacks to more than this is left to others.
const BLOCK_BYTES_MAX: u64 = 1 << 30;

/// A type, as far as its values can be stepped over.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Type {
    Null,
    Boolean,
    /// int, long and enum: a number of one to ten bytes.
    Number,
    Float,
    Double,
    /// string and bytes: a length, and so many bytes.
    Bytes,
    Fixed(usize),
    Array(Box<Type>),
    Map(Box<Type>),
    Union(Vec<Type>),
    Record(Vec<Field>),
}

/// A field of a record.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Field {
    pub name: String,
    /// Iceberg's `field-id`.
    pub id: Option<i64>,
    pub kind: Type,
}

/// A file whose header was read.
#[derive(Debug)]
pub(crate) struct Container<'a> {
    /// The header's pairs of key and value.
    pub(crate) metadata: HashMap<String, Vec<u8>>,
    /// The fields of each record.
    pub(super) fields: Vec<Field>,
    packing: Packing,
    sync: &'a [u8],
    blocks: Cursor<'a>,
}

/// How blocks are packed.
#[derive(Debug, Clone, Copy)]
enum Packing {
    None,
    Deflate,
    Snappy,
    Zstandard,
}

impl<'a> Container<'a> {
    /// Reads the header.
    pub(crate) fn open(bytes: &'a [u8]) -> Option<Self> {
        let mut cursor = Cursor { rest: bytes.strip_prefix(MAGIC)? };
        let mut metadata = HashMap::new();
        cursor.items(|cursor| {
            let name = cursor.text()?.to_owned();
            metadata.insert(name, cursor.bytes()?.to_vec());
            Some(())
        })?;
        let packing = match metadata.get("avro.codec").map(Vec::as_slice) {
            None | Some(b"null") => Packing::None,
            Some(b"deflate") => Packing::Deflate,
            Some(b"snappy") => Packing::Snappy,
            Some(b"zstandard") => Packing::Zstandard,
            Some(_) => return None,
        };
        let schema: Value = serde_json::from_slice(metadata.get("avro.schema")?).ok()?;
        let Type::Record(fields) = of_schema(&schema, &mut HashMap::new())? else { return None };
        Some(Self { metadata, fields, packing, sync: cursor.take(SYNC_BYTES)?, blocks: cursor })
    }

    /// Visits every record. The visitor reads or steps over all of its fields, and nothing more.
    pub(super) fn each_record(&self, mut visit: impl FnMut(&mut Cursor<'_>) -> Option<()>) -> Option<()> {
        let mut blocks = self.blocks.clone();
        while !blocks.rest.is_empty() {
            let count = usize::try_from(blocks.number()?).ok()?;
            let packed = blocks.bytes()?;
            if blocks.take(SYNC_BYTES)? != self.sync {
                return None;
            }
            let block = match self.packing {
                Packing::None => Cow::Borrowed(packed),
                Packing::Deflate => Cow::Owned(inflated(packed)?),
                Packing::Snappy => Cow::Owned(unpacked(packed, Codec::Snappy)?),
                Packing::Zstandard => Cow::Owned(unpacked(packed, Codec::Zstandard(ZstandardSettings::default()))?),
            };
            let mut records = Cursor { rest: &block };
            if count > records.rest.len() {
                return None;
            }
            for _ in 0..count {
                visit(&mut records)?;
            }
            if !records.rest.is_empty() {
                return None;
            }
        }
        Some(())
    }
}

fn inflated(packed: &[u8]) -> Option<Vec<u8>> {
    let mut decoder = DeflateDecoder::new(packed);
    let mut block = Vec::new();
    decoder.by_ref().take(BLOCK_BYTES_MAX).read_to_end(&mut block).ok()?;
    // Something is left: it was more than that.
    (copy(&mut decoder, &mut sink()).ok()? == 0).then_some(block)
}

fn unpacked(packed: &[u8], codec: Codec) -> Option<Vec<u8>> {
    let mut block = packed.to_vec();
    codec.decompress(&mut block).ok()?;
    Some(block)
}

/// Reads a schema; `known` are the types that it has named so far.
fn of_schema(schema: &Value, known: &mut HashMap<String, Type>) -> Option<Type> {
    let object = match schema {
        Value::Array(branches) => {
            return branches.iter().map(|branch| of_schema(branch, known)).collect::<Option<_>>().map(Type::Union);
        }
        Value::String(name) => return of_name(name, known),
        Value::Object(object) => object,
        _ => return None,
    };
    let kind = match object.get("type")? {
        Value::String(kind) => kind.as_str(),
        nested => return of_schema(nested, known),
    };
    let made = match kind {
        "array" => Type::Array(Box::new(of_schema(object.get("items")?, known)?)),
        "map" => Type::Map(Box::new(of_schema(object.get("values")?, known)?)),
        "fixed" => Type::Fixed(usize::try_from(object.get("size")?.as_u64()?).ok()?),
        "enum" => Type::Number,
        "record" => {
            let field = |field: &Value, known: &mut HashMap<String, Type>| {
                let name = field.get("name")?.as_str()?.to_owned();
                let id = field.get("field-id").and_then(Value::as_i64);
                Some(Field { name, id, kind: of_schema(field.get("type")?, known)? })
            };
            let fields = object.get("fields")?.as_array()?;
            Type::Record(fields.iter().map(|of| field(of, known)).collect::<Option<_>>()?)
        }
        name => return of_name(name, known),
    };
    if let Some(name) = object.get("name").and_then(Value::as_str) {
        known.insert(name.to_owned(), made.clone());
    }
    Some(made)
}

fn of_name(name: &str, known: &HashMap<String, Type>) -> Option<Type> {
    Some(match name {
        "null" => Type::Null,
        "boolean" => Type::Boolean,
        "int" | "long" => Type::Number,
        "float" => Type::Float,
        "double" => Type::Double,
        "bytes" | "string" => Type::Bytes,
        name => known.get(name)?.clone(),
    })
}

/// A place in encoded values.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(bytes)?;
        self.rest = rest;
        Some(taken)
    }

    /// A value of [`Type::Number`].
    pub fn number(&mut self) -> Option<i64> {
        let mut value = 0_u64;
        for (index, byte) in self.rest.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * index);
            if *byte < 0x80 {
                self.rest = &self.rest[index + 1..];
                return Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
        }
        None
    }

    /// A value of [`Type::Bytes`].
    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        self.take(length)
    }

    /// A value of [`Type::Bytes`] or [`Type::Fixed`].
    pub fn bytes_of(&mut self, kind: &Type) -> Option<&'a [u8]> {
        match kind {
            Type::Bytes => self.bytes(),
            Type::Fixed(length) => self.take(*length),
            _ => None,
        }
    }

    /// A value of [`Type::Bytes`] that is text.
    pub fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    /// So many bytes of a value of [`Type::Fixed`], [`Type::Float`] or [`Type::Double`].
    pub fn fixed<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    /// The type of the value that comes, which may be a union with null; `Some(None)` for null.
    pub fn some<'t>(&mut self, kind: &'t Type) -> Option<Option<&'t Type>> {
        let kind = match kind {
            Type::Union(branches) => branches.get(usize::try_from(self.number()?).ok()?)?,
            kind => kind,
        };
        Some((*kind != Type::Null).then_some(kind))
    }

    /// The items of an array or of a map, one after the other.
    pub fn items(&mut self, mut visit: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        loop {
            let mut count = self.number()?;
            if count < 0 {
                // The size of the block, for those who step over it.
                self.number()?;
                count = count.checked_neg()?;
            }
            let count = usize::try_from(count).ok()?;
            if count == 0 {
                return Some(());
            }
            if count > self.rest.len() {
                return None;
            }
            for _ in 0..count {
                visit(self)?;
            }
        }
    }

    /// Steps over a value.
    pub fn skip(&mut self, kind: &Type) -> Option<()> {
        match kind {
            Type::Null => {}
            Type::Boolean => _ = self.take(1)?,
            Type::Number => _ = self.number()?,
            Type::Float => _ = self.take(4)?,
            Type::Double => _ = self.take(8)?,
            Type::Bytes => _ = self.bytes()?,
            Type::Fixed(bytes) => _ = self.take(*bytes)?,
            Type::Array(item) => self.skip_items(|cursor| cursor.skip(item))?,
            Type::Map(value) => self.skip_items(|cursor| {
                cursor.bytes()?;
                cursor.skip(value)
            })?,
            Type::Union(branches) => {
                let branch = branches.get(usize::try_from(self.number()?).ok()?)?;
                self.skip(branch)?;
            }
            Type::Record(fields) => fields.iter().try_for_each(|field| self.skip(&field.kind))?,
        }
        Some(())
    }

    fn skip_items(&mut self, mut skip: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        loop {
            let count = self.number()?;
            if count < 0 {
                self.bytes()?;
                continue;
            }
            let count = usize::try_from(count).ok()?;
            if count == 0 {
                return Some(());
            }
            if count > self.rest.len() {
                return None;
            }
            for _ in 0..count {
                skip(self)?;
            }
        }
    }
}
