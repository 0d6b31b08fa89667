// A CIF that was chosen or pasted: {name, text, isPasted}. The service reads it; this is for the form.

/** The number of its blocks. */
export const countBlocks = (text) => (text.match(/^\s*data_/gim) ?? []).length;

/** Whether the file of a walk's beginning has its end too. */
export const holdsBoth = (file) => countBlocks(file?.text ?? "") > 1;

/** Stands for a file that is still to be chosen. */
export const noFile = (name) => ({ name, text: "" });
