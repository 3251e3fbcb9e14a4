//! What a recipe says of its warm base: the kernel's command line, and what goes into the manifest.

use serde_json::{Value, json};

use crate::recipe::Recipe;

/// What a warm base says of itself.
pub fn description(recipe: &Recipe) -> Value {
    let machine = &recipe.machine;
    json!({
        "recipe": recipe.name,
        "machine": {
            "cpus": machine.cpus,
            "memory": machine.memory.bytes(),
            "width": machine.display.width,
            "height": machine.display.height,
        },
        "command-line": command_line(recipe),
        "layouts": recipe.keyboard.layouts,
        "ready": { "console": recipe.warm_base.ready.console },
    })
}

/// The recipe's command line and what the initramfs's program needs to know.
pub fn command_line(recipe: &Recipe) -> String {
    let own = format!("samovar.label={} samovar.overlay={}", recipe.rootfs.label, recipe.overlay.size);
    let layouts = match recipe.keyboard.layouts.as_slice() {
        [] => String::new(),
        layouts => format!(" samovar.layouts={}", layouts.join(",")),
    };
    [recipe.kernel.command_line.trim(), &own].join(" ").trim_start().to_owned() + &layouts
}
