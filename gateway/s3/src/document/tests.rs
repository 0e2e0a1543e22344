//! Bodies of clients that are of their type and that are not, and the bytes of responses.

use serde::de::DeserializeOwned;

use super::*;
use crate::xml::{self, XmlDocument};

fn reads<T: XmlDocument + DeserializeOwned>(taken: &[&str], refused: &[&str]) {
    let of = |fields: &str| {
        let root = T::ROOT;
        xml::read::<T>(format!("<{root} xmlns=\"a\">\n{fields}\n</{root}>").as_bytes())
    };
    for fields in taken {
        assert!(of(fields).is_ok(), "{}: {fields} is refused", T::ROOT);
    }
    for fields in refused {
        assert!(of(fields).is_err(), "{}: {fields} is taken", T::ROOT);
    }
}

#[test]
fn bodies_are_of_their_type_or_refused() {
    reads::<Delete>(
        &[
            "",
            "<Quiet/>",
            "<Quiet>no</Quiet>",
            "<Unknown><A/></Unknown>",
            "<Object><Key>a</Key></Object><Quiet>true</Quiet><Object><Key/></Object>",
            "<Object><VersionId>null</VersionId><Key> a </Key><ETag>*</ETag></Object>",
            "<Object><Key>a</Key><Size>1</Size><LastModifiedTime>b</LastModifiedTime></Object>",
        ],
        &[
            "<Object/>",
            "<Object><VersionId>1</VersionId></Object>",
            "<Object><Key>a</Key><Key>b</Key></Object>",
            "<Object><Key>a</Key><IfSomethingNew>b</IfSomethingNew></Object>",
            "<Object><Key><A/></Key></Object>",
            "<Quiet>true</Quiet><Quiet>false</Quiet>",
        ],
    );
    reads::<CompleteMultipartUpload>(
        &[
            "",
            "<Part><PartNumber> 1 </PartNumber><ETag>a</ETag></Part>",
            "<Part><ETag>a</ETag><PartNumber>65535</PartNumber><ChecksumNew>b</ChecksumNew></Part>",
            "<Part><PartNumber>1</PartNumber><ETag>a</ETag><X><Y/></X></Part><Other/>",
        ],
        &[
            "<Part><PartNumber>1</PartNumber></Part>",
            "<Part><ETag>a</ETag></Part>",
            "<Part><PartNumber>-1</PartNumber><ETag>a</ETag></Part>",
            "<Part><PartNumber>65536</PartNumber><ETag>a</ETag></Part>",
            "<Part><PartNumber>1</PartNumber><ETag>a</ETag><ETag>b</ETag></Part>",
        ],
    );
    reads::<Tagging>(
        &[
            "<TagSet/>",
            "<TagSet><Tag><Key>a</Key><Value/></Tag><Tag><Value>b</Value><Key>c</Key></Tag></TagSet>",
        ],
        &[
            "",
            "<TagSet><Tag><Key>a</Key></Tag></TagSet>",
            "<TagSet><Other/></TagSet>",
            "<TagSet/><TagSet/>",
            "<Tag><Key>a</Key><Value/></Tag>",
        ],
    );
    reads::<VersioningConfiguration>(
        &["", "<Status>Enabled</Status>", "<Status> Suspended </Status><MfaDelete/>"],
        &[
            "<Status/>",
            "<Status>enabled</Status>",
            "<Status>Enabled</Status><Status>Enabled</Status>",
        ],
    );
    reads::<CreateBucketConfiguration>(
        &[
            "",
            "<LocationConstraint/>",
            "<Tags><Tag><Key>a</Key></Tag></Tags>",
            "<Bucket><Type/></Bucket>",
        ],
        &[
            "<LocationConstraint>a</LocationConstraint><New/>",
            "<LocationConstraint><A/></LocationConstraint>",
        ],
    );
}

fn written(document: &(impl XmlDocument + serde::Serialize)) -> String {
    let text = xml::write(document).unwrap();
    let start = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
    let space = " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"";
    text.strip_prefix(start).unwrap().replacen(space, "", 1)
}

#[test]
fn responses_have_the_bytes_that_clients_know() {
    let owner = Owner { id: "1".into(), display_name: "a<b".into() };
    let grantee = Grantee::user(owner.clone());
    let grants = vec![Grant { grantee, permission: "READ" }];
    let policy = AccessControlPolicy { owner, access_control_list: AccessControlList { grants } };
    assert_eq!(
        written(&policy),
        "<AccessControlPolicy><Owner><ID>1</ID><DisplayName>a&lt;b</DisplayName></Owner><AccessControlList><Grant><Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"CanonicalUser\"><ID>1</ID><DisplayName>a&lt;b</DisplayName></Grantee><Permission>READ</Permission></Grant></AccessControlList></AccessControlPolicy>"
    );
    assert_eq!(written(&LocationConstraint("")), "<LocationConstraint></LocationConstraint>");
    assert_eq!(
        written(&BucketLoggingStatus::default()),
        "<BucketLoggingStatus></BucketLoggingStatus>"
    );
    assert_eq!(
        written(&AccelerateConfiguration { status: None }),
        "<AccelerateConfiguration></AccelerateConfiguration>"
    );
    assert_eq!(
        written(&RequestPaymentConfiguration { payer: Payer::BucketOwner }),
        "<RequestPaymentConfiguration><Payer>BucketOwner</Payer></RequestPaymentConfiguration>"
    );
    let controls = OwnershipControls::named("ObjectWriter").unwrap();
    assert_eq!(
        written(&controls),
        "<OwnershipControls><Rule><ObjectOwnership>ObjectWriter</ObjectOwnership></Rule></OwnershipControls>"
    );
    assert_eq!(xml::read::<OwnershipControls>(written(&controls).as_bytes()), Ok(controls));
    assert_eq!(OwnershipControls::named("objectwriter"), None);
    assert_eq!(
        written(&VersioningConfiguration::default()),
        "<VersioningConfiguration></VersioningConfiguration>"
    );
    let copied = CopyObjectResult {
        etag: "\"e\"".into(),
        last_modified: "t".into(),
        checksums: ChecksumElements::from([("ChecksumCRC32", "c".to_owned())]),
        checksum_type: Some("FULL_OBJECT"),
    };
    assert_eq!(
        written(&copied),
        "<CopyObjectResult><ETag>&quot;e&quot;</ETag><LastModified>t</LastModified><ChecksumCRC32>c</ChecksumCRC32><ChecksumType>FULL_OBJECT</ChecksumType></CopyObjectResult>"
    );
    let deleted = Deleted {
        key: "k\r".into(),
        version_id: None,
        delete_marker: Some(true),
        delete_marker_version_id: Some("v".into()),
    };
    let result = DeleteResult { deleted: vec![deleted], errors: Vec::new() };
    assert_eq!(
        written(&result),
        "<DeleteResult><Deleted><Key>k&#xD;</Key><DeleteMarker>true</DeleteMarker><DeleteMarkerVersionId>v</DeleteMarkerVersionId></Deleted></DeleteResult>"
    );
}
