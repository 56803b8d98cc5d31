//! What a declaration is made of, and the macro that turns declarations into types and tables.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::value::{Kind, Value, is_number, number};
use crate::words::pick;
use crate::{ConfigError, MASK};

/// Declares the classes of objects: what people call them, and the type that holds one.
macro_rules! classes {
    ($($(#[doc = $doc:literal])+ $name:ident = $words:literal, [$($verb:ident)+];)+) => {
        /// A class of objects.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Object {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Object {
            /// Every class.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The words that name the class in a command.
            pub const fn words(self) -> &'static str {
                match self { $(Self::$name => $words,)+ }
            }

            /// What can be done with it.
            pub const fn verbs(self) -> &'static [Verb] {
                match self { $(Self::$name => &[$(Verb::$verb),+],)+ }
            }

            /// One line of help.
            pub fn help(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+).trim_start(),)+ }
            }

            /// Whether `text` is a value of the parameter `name`.
            pub fn check(self, name: &str, text: &str) -> Result<(), ConfigError> {
                match self { $(Self::$name => crate::objects::$name::default().set(name, text),)+ }
            }

            /// Its parameters, in the order of the declaration.
            pub fn parameters(self) -> &'static [Parameter] {
                match self { $(Self::$name => crate::objects::$name::parameters(),)+ }
            }
        }
    };
}

classes! {
    /// The daemon as a whole.
    System = "system", [Modify Show Unset];
    /// What is known of the peers that call, found by their host name or address.
    PeerProfile = "peer profile", [Create Modify Delete Show List Unset];
    /// Parameters that tunnels have in common.
    TunnelProfile = "tunnel profile", [Create Modify Delete Show List Unset];
    /// Parameters that sessions have in common.
    SessionProfile = "session profile", [Create Modify Delete Show List Unset];
    /// How PPP runs in a session.
    PppProfile = "ppp profile", [Create Modify Delete Show List Unset];
    /// A tunnel that we open.
    Tunnel = "tunnel", [Create Modify Delete Show List];
    /// A session that we open.
    Session = "session", [Create Modify Delete Show List];
    /// Somebody who may open sessions with us.
    User = "user", [Create Modify Delete List];
    /// Addresses for the peers of our sessions.
    IpPool = "ip_pool", [Create Modify Delete Show List];
    /// Where peers reach us, and tunnels of ours may start: an address, a device, a network namespace.
    Listener = "listener", [Create Delete Show List];
}

impl Object {
    /// Whether it is one of the four kinds of profile, each of which has one called "default".
    pub const fn is_profile(self) -> bool {
        matches!(
            self,
            Self::PeerProfile | Self::TunnelProfile | Self::SessionProfile | Self::PppProfile
        )
    }

    /// The parameter of this name or alias, or the only one whose name begins so.
    pub fn parameter(self, name: &str) -> Result<&'static Parameter, ConfigError> {
        find(self.parameters(), name, || format!("a parameter of {self}"))
            .map(|(_, parameter)| parameter)
    }

    /// The parameter that names an object of this class, if all of them have names.
    pub fn key(self) -> Option<&'static Parameter> {
        self.parameters()
            .iter()
            .find(|parameter| parameter.role == Role::Key)
    }

    /// Words that may follow a command for this class without a value, for what it is to show.
    pub const fn flags(self, verb: Verb) -> &'static [&'static str] {
        match (self, verb) {
            (Self::System, Verb::Show) => &[
                "configuration",
                "datapath",
                "status",
                "statistics",
                "version",
            ],
            (Self::Tunnel, Verb::Show) => &["config", "transport"],
            (Self::Tunnel, Verb::List) => &["local_only", "remote_only", "names"],
            _ => &[],
        }
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

/// What a command does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Verb {
    /// Makes an object.
    Create,
    /// Changes parameters of an object.
    Modify,
    /// Ends an object.
    Delete,
    /// Prints one object.
    Show,
    /// Prints the objects of the class, a line each.
    List,
    /// Returns parameters to their defaults.
    Unset,
}

impl Verb {
    /// The word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Modify => "modify",
            Self::Delete => "delete",
            Self::Show => "show",
            Self::List => "list",
            Self::Unset => "unset",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What a parameter is to its object, and with that which commands take it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Names the object: every command that is about one object needs it.
    Key,
    /// May name the object when it is made, and selects it afterwards.
    Label,
    /// A number that the daemon gives: selects the object, cannot be chosen.
    Id,
    /// Needed when the object is made.
    Required,
    /// Chosen when the object is made; a profile's may change and is then used by what is made later.
    Create,
    /// May change at any time.
    Modify,
    /// Done when it is set, and not kept.
    Action,
    /// Shown, and chosen elsewhere.
    ReadOnly,
}

impl Role {
    /// When a change of a parameter of this role is felt, where the declaration does not say it.
    pub(crate) const fn touches(self) -> Touches {
        match self {
            Self::Modify | Self::Action => Touches::Live,
            _ => Touches::Restart,
        }
    }
}

/// What a change of a parameter touches.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Touches {
    /// What lives, at once.
    Live,
    /// What is made afterwards; what lives stays as it is.
    Next,
    /// Nothing before the object itself is made anew: a tunnel or session ends for it, the daemon is started again.
    Restart,
}

impl fmt::Display for Touches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Live => "live",
            Self::Next => "next",
            Self::Restart => "restart",
        })
    }
}

/// What the declaration says of one parameter.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// Other names that are understood.
    pub aliases: &'static [&'static str],
    /// What text it takes.
    pub kind: Kind,
    /// The least and greatest number, or the fewest and most octets of text.
    pub range: Option<(u64, u64)>,
    /// Of what a number is a count.
    pub unit: Option<&'static str>,
    /// The text of the default.
    pub default: Option<String>,
    /// What it is to its object.
    pub role: Role,
    /// What a change touches, of an object that lives: see [`Parameter::touches`].
    pub(crate) touches: Touches,
    /// One sentence of help.
    pub help: &'static str,
}

/// Parameters of what is still to come: PPP proxy, RADIUS, EAP, bundles of links.
const PENDING: &[&str] = &[
    "allow_ppp_proxy",
    "auth_eap",
    "initial_rcvd_lcp_confreq",
    "last_rcvd_lcp_confreq",
    "last_sent_lcp_confreq",
    "multilink",
    "proxy_auth_challenge",
    "proxy_auth_name",
    "proxy_auth_response",
    "proxy_auth_type",
    "radius_hint",
    "use_ppp_proxy",
    "use_radius",
];

impl Parameter {
    /// Whether it is kept and shown, and has no effect yet.
    pub fn is_pending(&self) -> bool {
        PENDING.contains(&self.name)
    }

    /// What a change of the parameter of an object of this class touches. What is looked up when something is made touches only that.
    pub fn touches(&self, object: Object) -> Touches {
        match object {
            Object::System | Object::Tunnel | Object::Session | Object::Listener => self.touches,
            _ => Touches::Next,
        }
    }

    /// What is to be said to whoever sets it to `text`, if that can't have the effect that was meant.
    pub fn warning(&self, text: &str) -> Option<String> {
        let is_off =
            text.is_empty() || self.kind == Kind::Boolean && bool::parse(text) == Some(false);
        (self.is_pending() && !is_off)
            .then(|| format!("{} is kept and shown, but has no effect yet", self.name))
    }

    /// The number in range that is nearest to `text`, one that is not, and what is to be said of taking it. None for what is no number, and for
    /// numbers that tell objects apart.
    pub(crate) fn nearest(&self, text: &str) -> Option<(String, String)> {
        let (least, most) = self.range.filter(|_| self.kind == Kind::Number)?;
        if matches!(self.role, Role::Key | Role::Label | Role::Id) {
            return None;
        }
        let is_less = text.strip_prefix('-').map(is_number);
        let taken = match is_less {
            Some(true) => least,
            None if is_number(text) => number(text).map_or(most, |given| given.clamp(least, most)),
            _ => return None,
        };
        let name = self.name;
        let message = format!("{name} takes {least} to {most}: {taken} is taken for {text}");
        Some((taken.to_string(), message))
    }

    /// Whether its value must not be shown.
    pub fn is_secret(&self) -> bool {
        matches!(self.kind, Kind::Secret | Kind::SecretOctets)
    }

    /// What text it takes, as a phrase.
    pub fn expects(&self) -> String {
        let unit = self
            .unit
            .map(|unit| format!(" ({unit})"))
            .unwrap_or_default();
        match (self.kind, self.range) {
            (Kind::Number, Some((least, most))) => format!("a number from {least} to {most}{unit}"),
            (Kind::Number, None) => format!("a number{unit}"),
            (Kind::Boolean, _) => "yes or no".to_owned(),
            (Kind::Text | Kind::Secret, Some((least, most))) => {
                format!("text of {least} to {most} octets")
            }
            (Kind::Text | Kind::Secret, None) => "text".to_owned(),
            (Kind::Choice(words), _) => format!("one of {}", words.join(", ")),
            (Kind::Flags(flags), _) => {
                let names: Vec<_> = flags.iter().map(|flag| flag.0).collect();
                format!("all, a number, or a comma list of {}", names.join(", "))
            }
            (Kind::Address, _) => "an IPv4 or IPv6 address".to_owned(),
            (Kind::Ipv4Address, _) => "an IPv4 address".to_owned(),
            (Kind::Host, _) => "a host name or an address".to_owned(),
            (Kind::Netmask, _) => "a netmask or a prefix length".to_owned(),
            (Kind::AddressRange, _) => "an IPv4 address range, FIRST-LAST".to_owned(),
            (Kind::Speed, _) => "bits a second, TX or RX:TX".to_owned(),
            (Kind::Octets | Kind::SecretOctets, _) => {
                "octets, two hexadecimal digits each".to_owned()
            }
            (Kind::Device, range) => {
                let most = range.map_or(15, |(_, most)| most);
                format!("the name of a network device, at most {most} octets")
            }
            (Kind::Program, _) => "the absolute path of a program".to_owned(),
            (Kind::Name(object), _) => format!("the name of a {object}"),
        }
    }

    /// Its value as JSON: numbers and booleans as such, everything else as text, a secret as [`MASK`].
    fn json(&self, text: String) -> Json {
        match self.kind {
            Kind::Number => text.parse::<u64>().map_or(Json::Null, Json::from),
            Kind::Boolean => Json::Bool(text == "yes"),
            Kind::Secret | Kind::SecretOctets => Json::from(MASK),
            _ => Json::from(text),
        }
    }
}

/// A parameter that has another value than before.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// The parameter.
    pub name: &'static str,
    /// What the change touches.
    pub touches: Touches,
    /// The text before; of a secret its mask.
    pub before: Option<String>,
    /// The text now; of a secret its mask.
    pub after: Option<String>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "not set".to_owned());
        let (before, after) = (text(&self.before), text(&self.after));
        if before == after {
            return f.write_str(self.name);
        }
        write!(f, "{} {before} -> {after}", self.name)
    }
}

/// The place of one parameter's value in an object.
pub trait Slot {
    /// Reads `text` into it; false, and nothing changed, where the text is not of the kind or its value out of range.
    fn set(&mut self, text: &str, range: Option<(u64, u64)>) -> bool;
    /// Empties it.
    fn clear(&mut self);
    /// Its text when it is set; a secret's in clear.
    fn text(&self) -> Option<String>;
}

impl<T: Value> Slot for Option<T> {
    fn set(&mut self, text: &str, range: Option<(u64, u64)>) -> bool {
        // As ever in OpenL2TP, empty text stands for no text.
        if text.is_empty() && matches!(T::KIND, Kind::Text | Kind::Secret) {
            *self = None;
            return true;
        }
        let within = |value: &T| match (value.measure(), range) {
            (Some(measure), Some((least, most))) => (least..=most).contains(&measure),
            _ => true,
        };
        let Some(value) = T::parse(text).filter(within) else {
            return false;
        };
        *self = Some(value);
        true
    }

    fn clear(&mut self) {
        *self = None;
    }

    fn text(&self) -> Option<String> {
        self.as_ref().map(|value| T::print(value.view()))
    }
}

/// An object as a list of named parameters.
pub trait Parameters: Default + Clone {
    /// What the declaration says, in its order.
    fn parameters() -> &'static [Parameter];
    /// The values, in the same order.
    fn slots(&self) -> Vec<&dyn Slot>;
    /// The values, in the same order, to be changed.
    fn slots_mut(&mut self) -> Vec<&mut dyn Slot>;
    /// These parameters, and the base's where these are not set.
    #[must_use]
    fn merged_over(&self, base: &Self) -> Self;

    /// The parameters in which this object of a class differs from what it was before.
    fn changes(&self, before: &Self, object: Object) -> Vec<Change> {
        let texts = |slots: Vec<&dyn Slot>| slots.into_iter().map(Slot::text).collect::<Vec<_>>();
        let both = texts(before.slots()).into_iter().zip(texts(self.slots()));
        let changed = Self::parameters().iter().zip(both);
        let change = |(parameter, (before, after)): (&'static Parameter, _)| {
            let shown = |text: Option<String>| {
                text.map(|text| {
                    if parameter.is_secret() {
                        MASK.to_owned()
                    } else {
                        text
                    }
                })
            };
            Change {
                name: parameter.name,
                touches: parameter.touches(object),
                before: shown(before),
                after: shown(after),
            }
        };
        changed
            .filter(|(_, (before, after))| before != after)
            .map(change)
            .collect()
    }

    /// Sets the parameter of this name (or alias, or unique prefix) to what `text` says.
    fn set(&mut self, name: &str, text: &str) -> Result<(), ConfigError> {
        let (index, parameter) = find(Self::parameters(), name, || "a parameter".to_owned())?;
        let mut slots = self.slots_mut();
        // Without it the object could not be written down, nor read again.
        let is_needed = text.is_empty() && parameter.role == Role::Required;
        if !is_needed && slots[index].set(text, parameter.range) {
            if parameter.role == Role::Action {
                slots[index].clear();
            }
            return Ok(());
        }
        let shown = if parameter.is_secret() { MASK } else { text };
        Err(ConfigError::Value {
            name: parameter.name,
            value: shown.to_owned(),
            expected: parameter.expects(),
        })
    }

    /// Returns the parameter of this name to its default.
    fn unset(&mut self, name: &str) -> Result<(), ConfigError> {
        let (index, _) = find(Self::parameters(), name, || "a parameter".to_owned())?;
        self.slots_mut()[index].clear();
        Ok(())
    }

    /// The text of the parameter of this name when it is set; a secret's in clear.
    fn get(&self, name: &str) -> Result<Option<String>, ConfigError> {
        let (index, _) = find(Self::parameters(), name, || "a parameter".to_owned())?;
        Ok(self.slots()[index].text())
    }

    /// The parameters that are set, and their texts; secrets in clear.
    fn iter(&self) -> impl Iterator<Item = (&'static Parameter, String)> {
        Self::parameters()
            .iter()
            .zip(self.slots())
            .filter_map(|(parameter, slot)| Some((parameter, slot.text()?)))
    }

    /// Every parameter with its text or default, secrets masked: what `show` prints.
    fn shown(&self) -> impl Iterator<Item = (&'static Parameter, Option<String>)> {
        Self::parameters()
            .iter()
            .zip(self.slots())
            .map(|(parameter, slot)| {
                let text = slot.text().map(|text| {
                    if parameter.is_secret() {
                        MASK.to_owned()
                    } else {
                        text
                    }
                });
                (parameter, text.or_else(|| parameter.default.clone()))
            })
    }

    /// The same by name, as JSON; `null` is what is not set and has no default. What is no state of an object, but something to be done, is left out.
    fn shown_json(&self) -> Map<String, Json> {
        let all = self
            .shown()
            .filter(|(parameter, _)| parameter.role != Role::Action);
        all.map(|(parameter, text)| {
            let value = text.map_or(Json::Null, |text| parameter.json(text));
            (parameter.name.to_owned(), value)
        })
        .collect()
    }

    /// The parameters that are set, by name: numbers and booleans as such, the rest as text, secrets masked.
    fn to_json(&self) -> Map<String, Json> {
        self.iter()
            .map(|(parameter, text)| (parameter.name.to_owned(), parameter.json(text)))
            .collect()
    }

    /// Sets what `map` names; `null` unsets.
    fn set_json(&mut self, map: &Map<String, Json>) -> Result<(), ConfigError> {
        map.iter().try_for_each(|(name, value)| match value {
            Json::Null => self.unset(name),
            Json::Bool(value) => self.set(name, &bool::print(*value)),
            Json::String(text) => self.set(name, text),
            // A list or a map is no number either: the parameter says what it takes.
            other => self.set(name, &other.to_string()),
        })
    }
}

/// The parameter of this name or alias, or the only one whose name begins so, and its place in the table.
fn find(
    parameters: &'static [Parameter],
    name: &str,
    expected: impl FnOnce() -> String,
) -> Result<(usize, &'static Parameter), ConfigError> {
    let names_of = |p: &'static Parameter| std::iter::once(p.name).chain(p.aliases.iter().copied());
    let names: Vec<_> = parameters
        .iter()
        .enumerate()
        .flat_map(|(index, p)| names_of(p).map(move |name| (name, index)))
        .collect();
    pick(&names, name, expected).map(|index| (index, &parameters[index]))
}

/// Declares objects. A parameter is one line of help and one line of this form:
///
/// `[role touches] name | alias -> ReferredClass: Type { range, "unit" } = default;`
///
/// of which all but role, name and type may be left out. An object may end with `..name: Type`, the object
/// whose parameters it has as well.
macro_rules! objects {
    ($(
        $(#[doc = $doc:literal])+
        $name:ident {
            $(
                $(#[doc = $help:literal])+
                [$role:ident $($touches:ident)?] $field:ident $(| $alias:ident)* $(-> $class:ident)? : $type:ty
                    $({ $range:expr $(, $unit:literal)? })? $(= $default:expr)? ;
            )*
            $(.. $shared:ident : $shared_type:ident)?
        }
    )+) => {$(
        $(#[doc = $doc])+
        ///
        /// A field is `None` where the parameter is not set; the method of its name applies the default. Serde sees a
        /// map from name to text of what is set, secrets in clear: [`Parameters::to_json`] is the form for others.
        #[derive(Clone, PartialEq, Eq, Default, Debug)]
        pub struct $name {
            $($(#[doc = $help])+ pub $field: Option<$type>,)*
            $(
                /// The parameters that it shares with its profile.
                pub $shared: $shared_type,
            )?
        }

        impl $name {
            $(objects!(@accessor [$(#[doc = $help])+] $field, $type, $($default)?);)*
        }

        impl Parameters for $name {
            fn parameters() -> &'static [Parameter] {
                static TABLE: LazyLock<Vec<Parameter>> = LazyLock::new(|| {
                    #[allow(unused_mut, reason = "only what shares parameters extends the table")]
                    let mut table = vec![$(Parameter {
                        name: stringify!($field),
                        aliases: &[$(stringify!($alias)),*],
                        kind: objects!(@first $(Kind::Name(Object::$class),)? <$type as Value>::KIND),
                        range: objects!(@first $(bounds($range),)? <$type as Value>::RANGE),
                        unit: objects!(@first $($(Some($unit),)?)? None),
                        default: objects!(@first $(Some(<$type as Value>::print($default)),)? None),
                        role: Role::$role,
                        touches: objects!(@first $(Touches::$touches,)? Role::$role.touches()),
                        help: concat!($($help),+).trim_start(),
                    }),*];
                    $(table.extend_from_slice($shared_type::parameters());)?
                    table
                });
                &TABLE
            }

            fn slots(&self) -> Vec<&dyn Slot> {
                #[allow(unused_mut, reason = "only what shares parameters extends the list")]
                let mut slots: Vec<&dyn Slot> = vec![$(&self.$field),*];
                $(slots.extend(self.$shared.slots());)?
                slots
            }

            fn slots_mut(&mut self) -> Vec<&mut dyn Slot> {
                #[allow(unused_mut, reason = "only what shares parameters extends the list")]
                let mut slots: Vec<&mut dyn Slot> = vec![$(&mut self.$field),*];
                $(slots.extend(self.$shared.slots_mut());)?
                slots
            }

            fn merged_over(&self, base: &Self) -> Self {
                Self {
                    $($field: self.$field.as_ref().or(base.$field.as_ref()).cloned(),)*
                    $($shared: self.$shared.merged_over(&base.$shared),)?
                }
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_map(self.iter().map(|(parameter, text)| (parameter.name, text)))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let mut object = Self::default();
                for (name, text) in BTreeMap::<String, String>::deserialize(deserializer)? {
                    object.set(&name, &text).map_err(D::Error::custom)?;
                }
                Ok(object)
            }
        }
    )+};

    (@accessor [$(#[doc = $help:literal])+] $field:ident, $type:ty,) => {
        $(#[doc = $help])+
        ///
        /// `None`: not set, and there is no default.
        pub fn $field(&self) -> Option<<$type as Value>::View<'_>> {
            self.$field.as_ref().map(Value::view)
        }
    };
    (@accessor [$(#[doc = $help:literal])+] $field:ident, $type:ty, $default:expr) => {
        $(#[doc = $help])+
        #[doc = concat!("\n\nThe default is `", stringify!($default), "`.")]
        pub fn $field(&self) -> <$type as Value>::View<'_> {
            self.$field.as_ref().map_or($default, Value::view)
        }
    };
    (@first $first:expr $(, $rest:expr)?) => { $first };
}

pub(crate) use objects;

/// A declared range.
pub(crate) const fn bounds(range: std::ops::RangeInclusive<u64>) -> Option<(u64, u64)> {
    Some((*range.start(), *range.end()))
}
