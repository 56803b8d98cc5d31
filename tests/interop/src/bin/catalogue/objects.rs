//! What is done with each class of objects, with every parameter.

use anyhow::{Context, Result, bail, ensure};
use config::{Object, Parameter, Role, Verb};
use serde_json::Value;

use crate::values::{companion, is_tried, set, shows, values, wrong};
use crate::world::{Words, World};
use crate::{NOBODY, NOT_FOUND, NOT_UNDERSTOOD, REFUSED};

pub(crate) fn system(world: &World) -> Result<()> {
    let show = || world.answers(&Words::of("system show configuration"));
    let before = show()?;
    let modify = || Words::of("system modify");
    for parameter in Object::System.parameters() {
        let name = parameter.name;
        match parameter.role {
            Role::ReadOnly => {
                world.refuses(&modify().and(format!("{name}=1")), NOT_UNDERSTOOD, name)?;
            }
            Role::Action => {
                world.works(&modify().and(format!("{name}=yes")))?;
            }
            _ => {
                for (value, shown) in values(parameter) {
                    world.works(&modify().and(set(parameter, &value)))?;
                    shows(&show()?, parameter, &shown)?;
                }
                let refused = modify().and(set(parameter, &wrong(parameter)));
                world.refuses(&refused, NOT_UNDERSTOOD, name)?;
                world.works(&Words::of("system unset").and(name))?;
                shows(&show()?, parameter, &before[name])?;
            }
        }
    }
    for part in Object::System.flags(Verb::Show) {
        let text = world.works(&Words::of("system show").and(*part))?;
        ensure!(!text.trim().is_empty(), "system show {part} prints nothing");
    }
    world.refuses(
        &Words::of("system show nonsense"),
        NOT_UNDERSTOOD,
        "nonsense",
    )?;
    world.refuses(&Words::of("system create"), NOT_UNDERSTOOD, "create")?;
    Ok(())
}

/// A class of objects that are only kept: profiles, users, pools, listeners.
struct Kept<'a> {
    world: &'a World,
    object: Object,
    /// The parameter that names one.
    key: &'static str,
    /// What one can't be made without.
    required: Vec<String>,
}

/// Makes, changes and ends objects that are only kept.
pub(crate) fn kept(world: &World, object: Object) -> Result<()> {
    let required = object.parameters().iter();
    let required = required.filter(|p| p.role == Role::Required);
    let mut required: Vec<String> = required
        .filter_map(|p| Some(set(p, &values(p).first()?.0)))
        .collect();
    if object == Object::Listener {
        required.extend(["ipaddr=127.0.0.5", "udp_port=17055"].map(str::to_owned));
    }
    let key = object.key().context("it has no key")?.name;
    let class = Kept {
        world,
        object,
        key,
        required,
    };
    class.live()
}

impl Kept<'_> {
    fn has(&self, verb: Verb) -> bool {
        self.object.verbs().contains(&verb)
    }

    /// A command about the object of this name.
    fn about(&self, verb: Verb, name: &str) -> Words {
        Words::of(&format!("{} {verb}", self.object)).and(format!("{}={name}", self.key))
    }

    fn show(&self, name: &str) -> Result<Value> {
        match self.has(Verb::Show) {
            true => self.world.answers(&self.about(Verb::Show, name)),
            false => saved(self.world, self.object, name),
        }
    }

    /// All that is done with one.
    fn live(&self) -> Result<()> {
        let (world, object) = (self.world, self.object);
        let create = self.about(Verb::Create, "a name").all(&self.required);
        world.works(&create)?;
        world.refuses(&create, REFUSED, "already")?;
        if self.has(Verb::List) && object != Object::User {
            let list = world.works(&Words::of(&format!("{object} list")))?;
            ensure!(list.contains("a name"), "{object} list: {list}");
        }
        let default = self.show("a name")?;
        for parameter in object.parameters().iter().filter(|p| is_tried(p)) {
            for (value, shown) in values(parameter) {
                self.take(parameter, &value, &shown)?;
            }
            self.refuse(parameter)?;
            if self.has(Verb::Unset) {
                self.unset(parameter, &default)?;
            }
        }
        for verb in [Verb::Show, Verb::Modify, Verb::Delete] {
            if self.has(verb) {
                world.refuses(&self.about(verb, "nobody"), NOT_FOUND, "nobody")?;
            }
        }
        let delete = self.about(Verb::Delete, "a name");
        world.works(&delete)?;
        world.refuses(&delete, NOT_FOUND, "a name")?;
        if object.is_profile() {
            world.refuses(&self.about(Verb::Delete, "default"), REFUSED, "default")?;
        }
        Ok(())
    }

    /// A value is taken, of one that is there and of one that is made.
    fn take(&self, parameter: &Parameter, value: &str, shown: &Value) -> Result<()> {
        let with = |command: Words| {
            let command = command.and(set(parameter, value));
            command.all(companion(parameter.name))
        };
        if self.has(Verb::Modify) {
            self.world
                .works(&with(self.about(Verb::Modify, "a name")))?;
            shows(&self.show("a name")?, parameter, shown)?;
        }
        let itself = format!("{}=", parameter.name);
        let needed = self.required.iter().filter(|r| !r.starts_with(&itself));
        // No two listeners have the same port.
        let needed: Vec<_> = needed.map(|r| r.replace("17055", "17056")).collect();
        let create = with(self.about(Verb::Create, "other")).all(&needed);
        self.world.works(&create)?;
        shows(&self.show("other")?, parameter, shown)?;
        self.world.works(&self.about(Verb::Delete, "other"))?;
        Ok(())
    }

    /// A value that is none is refused.
    fn refuse(&self, parameter: &Parameter) -> Result<()> {
        let verb = match self.has(Verb::Modify) {
            true => Verb::Modify,
            false => Verb::Create,
        };
        let refused = self
            .about(verb, "a name")
            .and(set(parameter, &wrong(parameter)));
        self.world.refuses(&refused, NOT_UNDERSTOOD, parameter.name)
    }

    /// It goes back to what it was by default.
    fn unset(&self, parameter: &Parameter, default: &Value) -> Result<()> {
        let companions = companion(parameter.name).iter();
        let companions = companions.filter_map(|c| c.split('=').next());
        for name in [parameter.name].into_iter().chain(companions) {
            self.world
                .works(&self.about(Verb::Unset, "a name").and(name))?;
        }
        shows(&self.show("a name")?, parameter, &default[parameter.name])
    }
}

/// An object as `config save` has it, where no command shows it: each parameter's text, secrets masked as elsewhere.
fn saved(world: &World, object: Object, name: &str) -> Result<Value> {
    let text = world.works(&Words::of("config save"))?;
    let loaded = config::Model::load("saved", &text)
        .map_err(|errors| anyhow::anyhow!("config save printed what cannot be read: {errors:?}"))?;
    let shown = match object {
        Object::User => loaded
            .model
            .users
            .get(name)
            .map(config::Parameters::shown_json),
        _ => bail!("{object} is not looked up in what is saved"),
    };
    let shown = shown.with_context(|| format!("{object} {name} is not saved"))?;
    Ok(Value::Object(shown))
}

/// Opens, changes and closes tunnels.
pub(crate) fn tunnel(world: &World) -> Result<()> {
    world.works(&create_tunnel("lives"))?;
    world.refuses(&create_tunnel("lives"), REFUSED, "exists")?;
    world.refuses(
        &Words::of("tunnel create tunnel_name=nowhere"),
        REFUSED,
        "dest_ipaddr",
    )?;
    for parameter in Object::Tunnel.parameters().iter().filter(|p| is_tried(p)) {
        tunnel_parameter(world, parameter)?;
    }
    let list = world.works(&Words::of("tunnel list"))?;
    ensure!(list.contains("lives"), "tunnel list: {list}");
    for part in Object::Tunnel.flags(Verb::List) {
        let list = world.works(&Words::of("tunnel list").and(*part))?;
        ensure!(
            list.contains("lives") == (*part != "remote_only"),
            "tunnel list {part}: {list}"
        );
    }
    for part in Object::Tunnel.flags(Verb::Show) {
        world.works(&of_tunnel("show", "lives").and(*part))?;
    }
    let id = world.answers(&of_tunnel("show", "lives"))?["tunnel_id"].clone();
    if id.is_u64() {
        let renamed = format!("tunnel_id={id}");
        world.works(
            &Words::of("tunnel modify")
                .and(&renamed)
                .and("tunnel_name=renamed"),
        )?;
        world.works(
            &Words::of("tunnel modify")
                .and(&renamed)
                .and("tunnel_name=lives"),
        )?;
    }
    for verb in ["show", "modify", "delete"] {
        let nobody = of_tunnel(verb, "nobody");
        world.refuses(&nobody, NOT_FOUND, "nobody")?;
    }
    world.works(&of_tunnel("delete", "lives"))?;
    world.refuses(&of_tunnel("delete", "lives"), NOT_FOUND, "lives")?;
    Ok(())
}

/// Makes a tunnel. One that can't be reached is forgotten, unless it persists.
fn create_tunnel(name: &str) -> Words {
    Words::of("tunnel create persist=yes")
        .and(format!("tunnel_name={name}"))
        .and(format!("dest_ipaddr={NOBODY}"))
}

/// Another command about a tunnel.
fn of_tunnel(verb: &str, name: &str) -> Words {
    Words::of(&format!("tunnel {verb}")).and(format!("tunnel_name={name}"))
}

/// A parameter of a tunnel that is made, and of one that lives.
fn tunnel_parameter(world: &World, parameter: &Parameter) -> Result<()> {
    let show = |name: &str| {
        let mut shown = world.answers(&of_tunnel("show", name))?;
        anyhow::Ok(shown["parameters"].take())
    };
    for (value, shown) in values(parameter) {
        // An address that is not of this machine, and a port that the kernel may have given away.
        if matches!(
            (parameter.name, &*value),
            ("src_ipaddr", "2001:db8::3") | ("our_udp_port", "0xffff")
        ) {
            continue;
        }
        let needed = companion(parameter.name);
        let with_it = create_tunnel("made")
            .and(set(parameter, &value))
            .all(needed);
        world.works(&with_it)?;
        shows(&show("made")?, parameter, &shown).with_context(|| with_it.to_string())?;
        world.works(&of_tunnel("delete", "made"))?;
        let change = of_tunnel("modify", "lives").and(set(parameter, &value));
        if parameter.role == Role::Modify {
            world.works(&change)?;
            shows(&show("lives")?, parameter, &shown).with_context(|| change.to_string())?;
        } else {
            world.refuses(&change, NOT_UNDERSTOOD, parameter.name)?;
        }
    }
    let refused = create_tunnel("made").and(set(parameter, &wrong(parameter)));
    world.refuses(&refused, NOT_UNDERSTOOD, parameter.name)?;
    Ok(())
}

/// Opens, changes and closes sessions.
pub(crate) fn session(world: &World) -> Result<()> {
    let of = |verb: &str, name: &str| {
        Words::of(&format!(
            "session {verb} tunnel_name=office session_name={name}"
        ))
    };
    let show = |name: &str| {
        let mut shown = world.answers(&of("show", name))?;
        Ok::<_, anyhow::Error>(shown["parameters"].take())
    };
    world.refuses(&of("create", "early"), NOT_FOUND, "office")?;
    world.works(
        &Words::of("tunnel create tunnel_name=office persist=yes")
            .and(format!("dest_ipaddr={NOBODY}")),
    )?;
    world.works(&of("create", "lives"))?;
    world.refuses(&of("create", "lives"), REFUSED, "exists")?;
    for parameter in Object::Session.parameters().iter().filter(|p| is_tried(p)) {
        for (value, shown) in values(parameter) {
            let with_it = of("create", "made").and(set(parameter, &value));
            if parameter.name == "session_type" && !matches!(&*value, "laic" | "lnoc") {
                world.refuses(&with_it, REFUSED, "is the peer's to place")?;
                continue;
            }
            world.works(&with_it)?;
            shows(&show("made")?, parameter, &shown).with_context(|| with_it.to_string())?;
            world.works(&of("delete", "made"))?;
            let change = of("modify", "lives").and(set(parameter, &value));
            match (parameter.role, parameter.name) {
                // Of a session that is up, and we are its LAC.
                (Role::Modify, "use_sequence_numbers") => {
                    world.refuses(&change, REFUSED, "the peer decides")?;
                }
                (Role::Modify, _) => {
                    world.works(&change)?;
                    shows(&show("lives")?, parameter, &shown)
                        .with_context(|| change.to_string())?;
                }
                _ => world.refuses(&change, NOT_UNDERSTOOD, parameter.name)?,
            }
        }
        let refused = of("create", "made").and(set(parameter, &wrong(parameter)));
        world.refuses(&refused, NOT_UNDERSTOOD, parameter.name)?;
    }
    let list = world.works(&Words::of("session list tunnel_name=office"))?;
    ensure!(list.contains("lives"), "session list: {list}");
    for verb in ["show", "modify", "delete"] {
        world.refuses(&of(verb, "nobody"), NOT_FOUND, "nobody")?;
    }
    world.works(&of("delete", "lives"))?;
    world.refuses(&of("delete", "lives"), NOT_FOUND, "lives")?;
    world.works(&Words::of("tunnel delete tunnel_name=office"))?;
    Ok(())
}
