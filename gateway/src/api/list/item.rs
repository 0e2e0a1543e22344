//! Elements that lists of objects and of versions share.

use query::listing::{ListItem, ListPage, ListedVersion};
use s3::checksum::{ChecksumAlgorithm, etag};
use s3::xml::XmlWriter;

use super::key_style::{KeyStyle, common_prefix};

/// Writes the elements of a version behind its key and id. A delete marker has no entity tag, size and storage class.
pub fn version_fields(writer: &mut XmlWriter, line: &ListedVersion, owner: Option<&str>) {
    writer.text("LastModified", &s3::time::xml(line.created.micros()));
    if !line.is_marker {
        writer.text("ETag", &etag(&line.etag.md5, line.etag.parts)).raw("Size", line.size);
        for algorithm in ChecksumAlgorithm::ALL {
            if line.labels.has_checksum(algorithm as u8) {
                writer.text("ChecksumAlgorithm", algorithm.name());
            }
        }
        writer.text("ChecksumType", line.labels.checksum_kind());
    }
    if let Some(owner) = owner {
        writer.raw("Owner", owner);
    }
    if !line.is_marker {
        writer.text("StorageClass", line.labels.class.name());
    }
}

/// Writes the common prefixes of a page, in order.
pub fn prefixes(writer: &mut XmlWriter, style: &KeyStyle, page: &ListPage) {
    for listed in &page.listed {
        if let ListItem::Prefix(prefix) = listed {
            common_prefix(writer, style, prefix);
        }
    }
}
