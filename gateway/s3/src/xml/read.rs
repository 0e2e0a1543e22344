//! Reading elements into types: a deserializer of serde over elements that the strict reader has built.
//!
//! A field of a type is the elements of its name, in any order. Text is kept to the byte: a space at the end of a key
//! belongs to the key. (The deserializer of `quick-xml` trims text, so it would delete another object.)

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::element::XmlElement;
use super::error::XmlError;
use crate::names::number;

/// The elements of one name inside an element; never none.
pub struct XmlField<'a> {
    elements: Vec<&'a XmlElement>,
}

impl<'a> XmlField<'a> {
    /// The root of a document as a field.
    pub fn root(element: &'a XmlElement) -> Self {
        Self { elements: vec![element] }
    }

    /// The only element. Fails when there are several: none of them may be passed over.
    fn one(&self) -> Result<&'a XmlElement, XmlError> {
        match self.elements[..] {
            [element] => Ok(element),
            _ => Err(XmlError::invalid_length(self.elements.len(), &"one element")),
        }
    }

    /// The text of the only element. Fails for an element with elements in it.
    fn text(&self) -> Result<&'a str, XmlError> {
        let element = self.one()?;
        if element.children.is_empty() {
            Ok(&element.text)
        } else {
            Err(XmlError::invalid_type(Unexpected::Map, &"text"))
        }
    }
}

/// Deserializes a number without a sign through its text.
macro_rules! numbers {
    ($($method:ident $visit:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, XmlError> {
            let text = self.text()?.trim();
            let parsed = number(text);
            let wrong = || XmlError::invalid_value(Unexpected::Str(text), &"a number");
            visitor.$visit(parsed.ok_or_else(wrong)?)
        }
    )*};
}

impl<'de> Deserializer<'de> for XmlField<'de> {
    type Error = XmlError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, XmlError> {
        if self.one()?.children.is_empty() {
            self.deserialize_str(visitor)
        } else {
            self.deserialize_map(visitor)
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, XmlError> {
        visitor.visit_borrowed_str(self.text()?)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, XmlError> {
        let text = self.text()?.trim();
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" => visitor.visit_bool(true),
            "false" | "0" => visitor.visit_bool(false),
            _ => Err(XmlError::invalid_value(Unexpected::Str(text), &"true or false")),
        }
    }

    numbers! {
        deserialize_u16 visit_u16 deserialize_u32 visit_u32 deserialize_u64 visit_u64
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, XmlError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, XmlError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, XmlError> {
        visitor.visit_seq(Elements(self.elements.into_iter()))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, XmlError> {
        visitor.visit_map(Fields::of(self.one()?))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, XmlError> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, XmlError> {
        visitor.visit_enum(Variant(self.text()?.trim()))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, XmlError> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u128 f32 f64 char string bytes byte_buf unit unit_struct tuple tuple_struct identifier
    }
}

/// The elements of one name, one after the other.
struct Elements<'a>(std::vec::IntoIter<&'a XmlElement>);

impl<'de> SeqAccess<'de> for Elements<'de> {
    type Error = XmlError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, XmlError> {
        self.0.next().map(|element| seed.deserialize(XmlField::root(element))).transpose()
    }
}

/// The fields of an element: its elements grouped by name, in the order in which the names first occur.
struct Fields<'a> {
    rest: std::vec::IntoIter<XmlField<'a>>,
    value: Option<XmlField<'a>>,
}

impl<'a> Fields<'a> {
    fn of(element: &'a XmlElement) -> Self {
        let mut fields: Vec<XmlField<'a>> = Vec::new();
        let mut places: HashMap<&str, usize> = HashMap::new();
        for child in &element.children {
            match places.entry(child.name.as_str()) {
                Entry::Occupied(place) => fields[*place.get()].elements.push(child),
                Entry::Vacant(place) => {
                    place.insert(fields.len());
                    fields.push(XmlField::root(child));
                }
            }
        }
        Self { rest: fields.into_iter(), value: None }
    }
}

impl<'de> MapAccess<'de> for Fields<'de> {
    type Error = XmlError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, XmlError> {
        self.value = self.rest.next();
        let Some(field) = &self.value else { return Ok(None) };
        seed.deserialize(StrDeserializer::new(&field.elements[0].name)).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, XmlError> {
        let field = self.value.take().ok_or_else(|| XmlError::custom("a value without a name"))?;
        seed.deserialize(field)
    }
}

/// A variant without data, named by a text.
struct Variant<'a>(&'a str);

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = XmlError;
    type Variant = UnitVariant;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, UnitVariant), XmlError> {
        Ok((seed.deserialize(StrDeserializer::new(self.0))?, UnitVariant))
    }
}

/// The absent data of a variant.
struct UnitVariant;

impl<'de> VariantAccess<'de> for UnitVariant {
    type Error = XmlError;

    fn unit_variant(self) -> Result<(), XmlError> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _: T) -> Result<T::Value, XmlError> {
        Err(XmlError::custom("a variant has no data"))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, XmlError> {
        Err(XmlError::custom("a variant has no data"))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, XmlError> {
        Err(XmlError::custom("a variant has no data"))
    }
}
