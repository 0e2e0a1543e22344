//! Writing types as documents: a serializer of serde.
//!
//! A field becomes an element of its name, a list one element for each item, and `None` nothing. A field whose name begins with
//! `@` becomes an attribute; such fields come first in their type. (The serializer of `quick-xml` leaves control characters as
//! they are, which no client could read.)

use std::fmt::{self, Display, Write as _};

use serde::ser::{
    Error as _, Impossible, Serialize, SerializeMap, SerializeSeq, SerializeStruct, Serializer,
};

use super::NAMESPACE;
use super::error::XmlError;
use crate::escape::escape;

/// A value as text, for names of fields and values of attributes. Fails for a value that is neither text, number nor truth value.
struct AsText<'a, T: ?Sized>(&'a T);

impl<T: Serialize + ?Sized> Display for AsText<'_, T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.serialize(out)
    }
}

fn text_of(value: &(impl Serialize + ?Sized)) -> Result<String, XmlError> {
    let mut text = String::new();
    match write!(text, "{}", AsText(value)) {
        Ok(()) => Ok(text),
        Err(_) => Err(XmlError::custom("neither text nor a number")),
    }
}

/// Serializes a value as the element of a name, or as several where the value is a list.
pub struct ElementSerializer<'a> {
    out: &'a mut String,
    name: &'a str,
    is_root: bool,
}

impl<'a> ElementSerializer<'a> {
    /// The root element of a document, which is in S3's name space.
    pub fn root(out: &'a mut String, name: &'a str) -> Self {
        Self { out, name, is_root: true }
    }

    /// Begins the element and leaves its start open for attributes.
    fn begin(self) -> OpenElement<'a> {
        self.out.push('<');
        self.out.push_str(self.name);
        if self.is_root {
            let _ = write!(self.out, " xmlns=\"{NAMESPACE}\"");
        }
        OpenElement { out: self.out, name: self.name, is_start_open: true }
    }

    fn text(self, text: &str) -> Result<(), XmlError> {
        let mut open = self.begin();
        open.end_start();
        open.out.push_str(&escape(text));
        open.end_element();
        Ok(())
    }
}

/// Serializes numbers and truth values through their text.
macro_rules! texts {
    ($($method:ident $type:ty),*) => {$(
        fn $method(self, value: $type) -> Result<(), XmlError> {
            self.text(&value.to_string())
        }
    )*};
}

impl<'a> Serializer for ElementSerializer<'a> {
    type Ok = ();
    type Error = XmlError;
    type SerializeSeq = Items<'a>;
    type SerializeMap = OpenElement<'a>;
    type SerializeStruct = OpenElement<'a>;
    type SerializeTuple = Impossible<(), XmlError>;
    type SerializeTupleStruct = Impossible<(), XmlError>;
    type SerializeTupleVariant = Impossible<(), XmlError>;
    type SerializeStructVariant = Impossible<(), XmlError>;

    texts! {
        serialize_bool bool, serialize_i8 i8, serialize_i16 i16, serialize_i32 i32, serialize_i64 i64,
        serialize_u8 u8, serialize_u16 u16, serialize_u32 u32, serialize_u64 u64, serialize_char char
    }

    fn serialize_str(self, text: &str) -> Result<(), XmlError> {
        self.text(text)
    }

    fn serialize_unit(self) -> Result<(), XmlError> {
        self.text("")
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), XmlError> {
        self.text("")
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), XmlError> {
        self.text(variant)
    }

    fn serialize_none(self) -> Result<(), XmlError> {
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), XmlError> {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), XmlError> {
        value.serialize(self)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Items<'a>, XmlError> {
        Ok(Items { out: self.out, name: self.name })
    }

    fn serialize_map(self, _: Option<usize>) -> Result<OpenElement<'a>, XmlError> {
        Ok(self.begin())
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<OpenElement<'a>, XmlError> {
        Ok(self.begin())
    }

    fn serialize_f32(self, _: f32) -> Result<(), XmlError> {
        Err(XmlError::custom("a float"))
    }

    fn serialize_f64(self, _: f64) -> Result<(), XmlError> {
        Err(XmlError::custom("a float"))
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<(), XmlError> {
        Err(XmlError::custom("bytes"))
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), XmlError> {
        Err(XmlError::custom("a variant with data"))
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, XmlError> {
        Err(XmlError::custom("a tuple"))
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleStruct, XmlError> {
        Err(XmlError::custom("a tuple"))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, XmlError> {
        Err(XmlError::custom("a variant with data"))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, XmlError> {
        Err(XmlError::custom("a variant with data"))
    }
}

/// The elements of a list, all of one name.
pub struct Items<'a> {
    out: &'a mut String,
    name: &'a str,
}

impl SerializeSeq for Items<'_> {
    type Ok = ();
    type Error = XmlError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), XmlError> {
        value.serialize(ElementSerializer { out: self.out, name: self.name, is_root: false })
    }

    fn end(self) -> Result<(), XmlError> {
        Ok(())
    }
}

/// An element that is being written.
pub struct OpenElement<'a> {
    out: &'a mut String,
    name: &'a str,
    /// True while attributes may follow.
    is_start_open: bool,
}

impl OpenElement<'_> {
    fn end_start(&mut self) {
        if std::mem::take(&mut self.is_start_open) {
            self.out.push('>');
        }
    }

    fn end_element(mut self) {
        self.end_start();
        let _ = write!(self.out, "</{}>", self.name);
    }

    fn field<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), XmlError> {
        if let Some(attribute) = name.strip_prefix('@') {
            if !self.is_start_open {
                return Err(XmlError::custom("an attribute after an element"));
            }
            let _ = write!(self.out, " {attribute}=\"{}\"", escape(&text_of(value)?));
            return Ok(());
        }
        self.end_start();
        value.serialize(ElementSerializer { out: self.out, name, is_root: false })
    }
}

impl SerializeStruct for OpenElement<'_> {
    type Ok = ();
    type Error = XmlError;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), XmlError> {
        self.field(name, value)
    }

    fn end(self) -> Result<(), XmlError> {
        self.end_element();
        Ok(())
    }
}

impl SerializeMap for OpenElement<'_> {
    type Ok = ();
    type Error = XmlError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, _: &T) -> Result<(), XmlError> {
        Err(XmlError::custom("a name without a value"))
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, _: &T) -> Result<(), XmlError> {
        Err(XmlError::custom("a value without a name"))
    }

    fn serialize_entry<K: Serialize + ?Sized, T: Serialize + ?Sized>(
        &mut self,
        name: &K,
        value: &T,
    ) -> Result<(), XmlError> {
        self.field(&text_of(name)?, value)
    }

    fn end(self) -> Result<(), XmlError> {
        self.end_element();
        Ok(())
    }
}
