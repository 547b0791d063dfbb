"""tpr.commands"""
