//! The configuration as the management interface shows it.

use std::collections::BTreeMap;
use std::ops::Bound;

use api::{Collection, CommandError, Cursor, ErrorKind, Page, Range};
use config::{Model, Parameters};

/// Calls a function with the objects of a collection, whatever they are.
macro_rules! of_collection {
    ($model:expr, $collection:expr, $call:expr) => {
        match $collection {
            Collection::PeerProfiles => $call(&$model.peer_profiles),
            Collection::TunnelProfiles => $call(&$model.tunnel_profiles),
            Collection::SessionProfiles => $call(&$model.session_profiles),
            Collection::PppProfiles => $call(&$model.ppp_profiles),
            Collection::Users => $call(&$model.users),
            Collection::IpPools => $call(&$model.ip_pools),
            Collection::Listeners => $call(&$model.listeners),
        }
    };
}

/// A page of the objects of a collection, in the order of their names.
pub(crate) fn list(
    model: &Model,
    collection: Collection,
    range: &Range,
) -> Result<Page<api::Parameters>, CommandError> {
    let after = range.after.as_ref().map(read_cursor).transpose()?;
    let after = after.as_deref();
    Ok(of_collection!(model, collection, |objects| page(
        objects, after, range
    )))
}

/// One of a collection.
pub(crate) fn find(model: &Model, collection: Collection, name: &str) -> Option<api::Parameters> {
    of_collection!(model, collection, |objects| one(objects, name))
}

fn one<T: Parameters>(objects: &BTreeMap<String, T>, name: &str) -> Option<api::Parameters> {
    objects.get(name).map(Parameters::shown_json)
}

fn page<T: Parameters>(
    objects: &BTreeMap<String, T>,
    after: Option<&str>,
    range: &Range,
) -> Page<api::Parameters> {
    let start = after.map_or(Bound::Unbounded, Bound::Excluded);
    let mut later = objects.range::<str, _>((start, Bound::Unbounded));
    let mut last = None;
    let items = later.by_ref().take(range.limit()).map(|(name, object)| {
        last = Some(name);
        object.shown_json()
    });
    let items = items.collect();
    let next = later.next().and(last).map(|name| cursor(name));
    Page { items, next }
}

/// The octets of a name in hexadecimal digits: what is no cursor shows itself as none.
fn cursor(name: &str) -> Cursor {
    let digits: String = name.bytes().map(|octet| format!("{octet:02x}")).collect();
    Cursor(format!("name-{digits}"))
}

fn read_cursor(cursor: &Cursor) -> Result<String, CommandError> {
    let digits = cursor.0.strip_prefix("name-").unwrap_or("x").as_bytes();
    let octet = |pair: &[u8]| match pair {
        [
            high @ (b'0'..=b'9' | b'a'..=b'f'),
            low @ (b'0'..=b'9' | b'a'..=b'f'),
        ] => {
            let digit = |c: u8| {
                char::from(c)
                    .to_digit(16)
                    .and_then(|d| u8::try_from(d).ok())
            };
            Some(digit(*high)? << 4 | digit(*low)?)
        }
        _ => None,
    };
    let octets: Option<Vec<u8>> = digits.chunks(2).map(octet).collect();
    octets
        .and_then(|octets| String::from_utf8(octets).ok())
        .ok_or_else(|| {
            let message = format!("`{cursor}` is no cursor of this list");
            CommandError::new(ErrorKind::Invalid, message)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_go_on_where_the_last_one_ended_though_objects_come_and_go() {
        let add = |model: &mut Model, names: &[&str]| {
            for name in names {
                let text = format!("ip_pool create pool_name={name} range=10.0.0.1-10.0.0.2");
                model.apply(&config::parse_command(&text).unwrap()).unwrap();
            }
        };
        let names = |page: &Page<api::Parameters>| -> Vec<String> {
            let name = |object: &api::Parameters| object["pool_name"].as_str().unwrap().to_owned();
            page.items.iter().map(name).collect()
        };
        let mut model = Model::default();
        add(&mut model, &["b", "d", "\u{fc}"]);
        let mut range = Range {
            limit: Some(2),
            after: None,
        };
        let first = list(&model, Collection::IpPools, &range).unwrap();
        assert_eq!(names(&first), ["b", "d"]);
        model.ip_pools.remove("d");
        add(&mut model, &["a", "c", "e"]);
        range.after = first.next;
        let second = list(&model, Collection::IpPools, &range).unwrap();
        assert_eq!(names(&second), ["e", "\u{fc}"]);
        assert_eq!(second.next, None);

        for wrong in ["", "d", "name-0", "name-zz", "name-ff", "name-C3"] {
            range.after = Some(Cursor(wrong.to_owned()));
            assert!(
                list(&model, Collection::IpPools, &range).is_err(),
                "{wrong}"
            );
        }
    }
}
